//! A network as plain data: the one description that models, costs, profiler and exporters read.

mod spec;

pub use spec::{Act, Conv, LayerSpec, Network, Op, Point, Shape, Source, Transform};
