//! Shapes: what each operator makes of its inputs, and the check that a network's layers fit together.

use std::collections::BTreeSet;

use super::{Network, Op, Shape, Source};

/// Rows (or columns) after a window of side `kernel`, with `zeros` of padding in all; `None` when it does not fit.
fn windows(length: usize, kernel: usize, stride: usize, zeros: usize) -> Option<usize> {
    Some((length + zeros).checked_sub(kernel)? / stride + 1)
}

impl Op {
    /// Shape of the result for these inputs; `None` when they do not fit the operator. The padded shortcut keeps the
    /// channels of its input here: how many it adds is the layer's own choice.
    pub fn result(&self, inputs: &[Shape]) -> Option<Shape> {
        let first = *inputs.first()?;
        let window = |c, kernel, stride, zeros| {
            let h = windows(first.h, kernel, stride, zeros)?;
            Some(Shape { c, h, w: windows(first.w, kernel, stride, zeros)? })
        };
        match *self {
            Self::Conv(conv) => {
                let grouped = conv.groups > 0 && conv.c_in % conv.groups == 0 && conv.c_out % conv.groups == 0;
                (grouped && conv.c_in == first.c)
                    .then(|| window(conv.c_out, conv.kernel, conv.stride, 2 * conv.padding + conv.extra_end))
                    .flatten()
            }
            Self::Linear { c_in, c_out } => (c_in == first.c).then_some(Shape { c: c_out, ..first }),
            Self::Add => (inputs.len() == 2 && inputs[1] == first).then_some(first),
            Self::Gate => (*inputs.get(1)? == Shape { c: first.c, h: 1, w: 1 }).then_some(first),
            Self::MaxPool { kernel, stride, padding } => window(first.c, kernel, stride, 2 * padding),
            Self::GlobalAvgPool => Some(Shape { c: first.c, h: 1, w: 1 }),
            Self::PadShortcut { stride } => window(first.c, 1, stride, 0),
            Self::Embed => Some(Shape { c: first.c, h: first.h * first.w + 1, w: 1 }),
            Self::LayerNorm | Self::Activate => Some(first),
            Self::AttentionScores { heads } => {
                let even = heads > 0 && first.c.is_multiple_of(3 * heads) && first.w == 1;
                even.then_some(Shape { c: heads, h: first.h, w: first.h })
            }
            Self::AttentionValues { heads } => {
                let values = *inputs.get(1)?;
                let scores = Shape { c: heads, h: values.h, w: values.h };
                let fits = first == scores && heads > 0 && values.c.is_multiple_of(3 * heads) && values.w == 1;
                fits.then_some(Shape { c: values.c / 3, h: values.h, w: 1 })
            }
            Self::ClassToken => Some(Shape { h: 1, w: 1, ..first }),
        }
    }

    /// Shape of the weight as checkpoints store it; `None` for operators without one.
    pub fn weight_shape(&self) -> Option<Vec<usize>> {
        match *self {
            Self::Conv(conv) => Some(vec![conv.c_out, conv.c_in / conv.groups, conv.kernel, conv.kernel]),
            Self::Linear { c_in, c_out } => Some(vec![c_out, c_in]),
            _ => None,
        }
    }
}

impl Network {
    /// Checks that the layers fit together: sources come before their readers, shapes follow from the operators, names
    /// are unique, exactly the operators with weights have a weight format, points name a layer with weights, and the
    /// last layer gives one logit a class.
    ///
    /// # Errors
    /// The first thing that is wrong, with the layer's name.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_part()?;
        match self.layers.last() {
            Some(last) if last.output == (Shape { c: self.classes, h: 1, w: 1 }) => Ok(()),
            _ => Err("the last layer does not give one logit a class".to_owned()),
        }
    }

    /// The same for a part of a network, whose last layer may give anything.
    ///
    /// # Errors
    /// The first thing that is wrong, with the layer's name.
    pub(super) fn validate_part(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let fail = |what: &str| Err(format!("{}: {what}", layer.name));
            if !names.insert(layer.name.as_str()) {
                return fail("name used twice");
            }
            if layer.inputs.iter().any(|source| matches!(source, Source::Layer(from) if *from >= index)) {
                return fail("reads a layer that has not run");
            }
            let inputs: Vec<Shape> = layer.inputs.iter().map(|source| self.shape(*source)).collect();
            let Some(mut expected) = layer.op.result(&inputs) else { return fail("inputs do not fit the operator") };
            if matches!(layer.op, Op::PadShortcut { .. }) && layer.output.c >= expected.c {
                expected.c = layer.output.c;
            }
            if expected != layer.output {
                return fail(&format!("output {:?}, expected {expected:?}", layer.output));
            }
            if layer.weight.is_some() != layer.op.weight_shape().is_some() {
                return fail("weight format and operator disagree");
            }
        }
        let weighted = self.weighted();
        let points = self.layers.iter().filter_map(|layer| layer.point.as_ref()).chain([&self.input_point]);
        if points.into_iter().any(|point| !weighted.contains(&point.decided_by)) {
            return Err("a quantization point is decided by a layer without weights".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Conv, ModelName, ModelSpec, build};

    #[test]
    fn convolution_shapes_by_hand() {
        let conv = |kernel, stride, padding, groups| {
            Op::Conv(Conv { c_in: 4, c_out: 8, kernel, stride, padding, extra_end: 0, groups })
                .result(&[Shape { c: 4, h: 7, w: 8 }])
                .map(|shape| (shape.c, shape.h, shape.w))
        };
        assert_eq!(conv(3, 1, 1, 1), Some((8, 7, 8)));
        assert_eq!(conv(3, 2, 1, 4), Some((8, 4, 4))); // (7+2-3)/2+1 = 4, (8+2-3)/2+1 = 4
        assert_eq!(conv(1, 2, 0, 2), Some((8, 4, 4)));
        assert_eq!(conv(9, 1, 0, 1), None);
        assert_eq!(conv(3, 1, 1, 3), None);
    }

    #[test]
    fn every_model_is_sound_at_odd_widths_and_sizes() {
        for model in ModelName::all() {
            for (width, resolution) in [(1.0, None), (0.3, Some(29)), (0.05, Some(8)), (1.7, Some(33))] {
                // Patches must fill the image.
                let whole = |side: usize| if matches!(model, ModelName::Vit { .. }) { side / 4 * 4 } else { side };
                let resolution = resolution.map(whole);
                let spec = ModelSpec { width, resolution, classes: Some(7), ..ModelSpec::new(model) };
                build(&spec).unwrap().validate().unwrap();
            }
        }
    }

    #[test]
    fn damage_is_noticed() {
        let sound = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let mut broken = sound.clone();
        broken.layers[1].output.c += 1;
        assert!(broken.validate().unwrap_err().contains("layer1.0.conv1"));
        let mut broken = sound.clone();
        broken.layers[1].name = "conv1".to_owned();
        assert!(broken.validate().unwrap_err().contains("twice"));
        let mut broken = sound.clone();
        broken.layers[1].inputs[0] = Source::Layer(1);
        assert!(broken.validate().unwrap_err().contains("not run"));
        let mut broken = sound;
        broken.input_point.decided_by = 3;
        assert!(broken.validate().unwrap_err().contains("decided"));
    }
}
