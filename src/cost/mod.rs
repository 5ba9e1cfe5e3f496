//! What a network costs: multiplications, bit operations, size, activation memory; limits on these, and what a space
//! can reach.
//!
//! Everything follows from the [`Network`](crate::network::Network) alone. BOPs are MACs x weight bits x activation
//! bits; biases, normalisation, activations, pooling and adds count nothing.

mod budget;
mod constraint;
mod convention;
mod costs;
mod feasible;
mod half_sum;
mod hardware;
pub mod latency;
mod layer_cost;
mod memory;
mod on_device;
mod pricing;
mod size;

pub use budget::{LinearCost, Part, linear, parts, with};
pub use constraint::{Constraint, Metric};
pub use convention::Convention;
pub use costs::Costs;
pub use feasible::{cheapest, check_feasible, feasible_range, nearest};
pub use half_sum::{half_dot, half_dot_error};
pub use hardware::{Accumulator, Hardware, gates_per_mac, mac_area_um2};
pub use layer_cost::{LayerCost, layers_macs};
pub use memory::activation_bytes;
pub use on_device::TrainingStep;
pub use pricing::Pricing;
pub use size::{activation_scale_bits, codes_mib, weight_bits};
