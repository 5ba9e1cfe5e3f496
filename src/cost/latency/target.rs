//! A device to search for: its table, and predictions from it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::regression::Regression;
use super::{Device, Features, Kernel, KernelOp, Row, Table, Way, walk};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::{Act, Network};
use crate::ron_text;
use crate::stats::quantile;

/// A kernel's operator and formats: what one regression is about.
type Group = (KernelOp, bool, Format, Format);

fn group(kernel: &Kernel) -> Group {
    (kernel.op, kernel.is_depthwise(), kernel.a_format, kernel.w_format)
}

/// A device with its measured kernels.
#[derive(Debug)]
pub struct Target {
    /// The device.
    pub device: Device,
    times: FxHashMap<Kernel, f64>,
    models: HashMap<Group, Regression>,
    /// Estimates made so far.
    estimated: RwLock<FxHashMap<Kernel, f64>>,
}

/// A predicted time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Milliseconds for one image.
    pub latency_ms: f64,
    /// Share of the time that comes from kernels that were not measured.
    pub estimated: f64,
}

impl Target {
    /// Reads a folder with `device.ron` and `kernels.csv`.
    ///
    /// # Errors
    /// A file is missing or damaged, or the table is not of the device's formats; lines are named.
    pub fn load(folder: &Path) -> Result<Self> {
        let device: Device = ron_text::read(&folder.join("device.ron"))?;
        if let Some(fault) = device.fault() {
            return Err(Error::bad_file(folder.join("device.ron"), fault));
        }
        let path = folder.join("kernels.csv");
        let table = Table::read(&path)?;
        if device.kernels > table.rows.len() {
            let what =
                format!("has {} kernels where device.ron says {}: it is cut off", table.rows.len(), device.kernels);
            return Err(Error::bad_file(path, what));
        }
        for (at, row) in table.rows.iter().enumerate() {
            let bad = |what: String| Err(Error::bad_file(&path, format!("line {}: {what}", at + 2)));
            let computes = |format: Format| device.computes.contains(&format);
            if let Some(format) =
                [row.kernel.w_format, row.kernel.a_format].into_iter().find(|format| !computes(*format))
            {
                let known: Vec<&str> = device.computes.iter().map(|format| format.name()).collect();
                return bad(format!(
                    "format {format}, which device.ron does not list: it computes {}",
                    known.join(", ")
                ));
            }
            if row.batch != device.batch {
                return bad(format!("batch {}, but device.ron says {}", row.batch, device.batch));
            }
        }
        Ok(Self::new(device, &table.rows))
    }

    /// A device and its measured kernels.
    pub fn new(device: Device, rows: &[Row]) -> Self {
        let times: FxHashMap<Kernel, f64> = rows.iter().map(|row| (row.kernel, row.median_us)).collect();
        let mut groups: HashMap<Group, Vec<(Kernel, f64)>> = HashMap::new();
        for row in rows {
            groups.entry(group(&row.kernel)).or_default().push((row.kernel, row.median_us));
        }
        let models = groups.into_iter().map(|(group, measured)| (group, Regression::fit(measured))).collect();
        Self { device, times, models, estimated: RwLock::default() }
    }

    /// Time of a kernel in microseconds, and whether it was measured; nothing for operators that the device does not count.
    ///
    /// # Errors
    /// The table has no kernel of that operator in those formats; it is named.
    pub fn kernel_us(&self, kernel: &Kernel) -> Result<(f64, bool)> {
        if self.device.not_counted.contains(&kernel.op) {
            return Ok((0.0, true));
        }
        let kernel = &Kernel { act: if self.device.any_act { Act::None } else { kernel.act }, ..*kernel };
        if let Some(us) = self.times.get(kernel) {
            return Ok((*us, true));
        }
        if let Some(us) = self.estimated.read().unwrap_or_else(PoisonError::into_inner).get(kernel) {
            return Ok((*us, false));
        }
        let Some(model) = self.models.get(&group(kernel)) else {
            let expected = format!(
                "the table of {} has no kernel of that operator in that format; on the device `bitfront profile --space FILE` measures \
                 it, and `latency import --not-counted {}` leaves it out",
                self.device.device, kernel.op
            );
            return Err(Error::bad_value("--target", kernel, expected));
        };
        let us = model.of(kernel);
        self.estimated.write().unwrap_or_else(PoisonError::into_inner).insert(*kernel, us);
        Ok((us, false))
    }

    /// Sums of a network's kernel times, and how much of them is estimated.
    ///
    /// # Errors
    /// As [`Target::kernel_us`], with the layer's name.
    pub fn features(&self, network: &Network) -> Result<(Features, f64)> {
        self.features_of(network, |_| true)
    }

    /// The same over the layers at the places that `counts` names, with the ways between formats behind them.
    fn features_of(&self, network: &Network, counts: impl Fn(Option<usize>) -> bool) -> Result<(Features, f64)> {
        let (mut sums, mut estimated, mut fault, mut behind) = (Features::default(), 0.0, None, None);
        walk(network, &self.device, |way| {
            let (Way::Layer(_, kernel) | Way::Transition(kernel)) = way;
            if let Way::Layer(index, _) = way {
                behind = Some(index);
            }
            if !counts(behind) {
                return;
            }
            match self.kernel_us(&kernel) {
                Err(error) => fault = fault.take().or(Some((way, error))),
                Ok((us, measured)) => {
                    let sum = match way {
                        Way::Layer(..) if kernel.is_float32() => &mut sums.float32,
                        Way::Layer(..) => &mut sums.narrow,
                        Way::Transition(_) => &mut sums.transitions,
                    };
                    *sum += us;
                    estimated += if measured { 0.0 } else { us };
                }
            }
        });
        match fault {
            None => Ok((sums, estimated)),
            Some((Way::Layer(index, _), Error::BadValue { key, value, expected })) => {
                let layer = &network.layers[index].name;
                Err(Error::BadValue { key, value, expected: format!("layer {layer}: {expected}") })
            }
            Some((_, error)) => Err(error),
        }
    }

    /// Predicted time of some consecutive layers of a network, in milliseconds, without the time of a call.
    ///
    /// # Errors
    /// As [`Target::kernel_us`].
    pub fn part_ms(&self, network: &Network, layers: Range<usize>) -> Result<f64> {
        let (sums, _) = self.features_of(network, |at| at.is_some_and(|at| layers.contains(&at)))?;
        Ok((self.device.overhead.time(&sums) - self.device.overhead.call_us) / 1e3)
    }

    /// Predicted time of a network.
    ///
    /// # Errors
    /// As [`Target::kernel_us`].
    pub fn predict(&self, network: &Network) -> Result<Prediction> {
        let (sums, estimated) = self.features(network)?;
        let all = (sums.float32 + sums.narrow + sums.transitions).max(f64::MIN_POSITIVE);
        Ok(Prediction { latency_ms: self.device.overhead.time(&sums) / 1e3, estimated: estimated / all })
    }

    /// Relative errors of estimating every measured kernel from the others, and the median magnitude.
    pub fn leave_one_out(&self) -> Option<f64> {
        let errors: Vec<f64> = self.models.values().flat_map(Regression::errors).map(f64::abs).collect();
        quantile(&errors, 0.5)
    }

    /// Every measured kernel with its time.
    pub fn measured(&self) -> impl Iterator<Item = (&Kernel, f64)> {
        self.times.iter().map(|(kernel, us)| (kernel, *us))
    }
}
