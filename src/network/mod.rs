//! A network as plain data: the one description that models, costs, profiler and exporters read.
//!
//! [`build`] expands a [`ModelSpec`] with one expander a family; nobody else derives shapes. To add a family: a file
//! with its `expand`, a variant and its names in `model.rs`. [`build_staged`] expands what a hyperspace describes.

mod assigned;
mod block_type;
mod efficientnet_lite;
mod graph;
mod in_context;
mod inverted_residual;
mod low_rank;
mod mobilenet_v2;
mod model;
mod operators;
mod parameters;
mod points;
mod resnet;
mod shapes;
mod small_resnet;
mod spec;
mod staged;
mod tf_form;
mod transform;
mod vit;

pub use block_type::{Block, BlockType};
pub use in_context::{BEFORE, InContext, in_context, passage};
pub use low_rank::LowRank;
pub use model::{ModelName, ModelSpec, ShortcutKind, VitSize, build};
pub use operators::{BlockKind, Operators, Stage};
pub(crate) use operators::{check_expansion, check_kernel, check_width};
pub use spec::{Act, Conv, LAYER_NORM_EPSILON, LayerSpec, Network, Op, Point, Shape, Source, TORCH_EPSILON};
pub use staged::{LoneStage, STAGE_ENDS, StagedModel, StagedSpec, build_staged, stage_between, stage_layers};
pub use transform::{Interpolation, Transform};
