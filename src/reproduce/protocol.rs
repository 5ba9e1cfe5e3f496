//! What a protocol's table stands for: its cells, the space of each, and what a search aims at.

use std::ops::Range;

use super::cell::{Cell, FormatSet, Numbers, Purpose};
use super::experiments::{ELASTIC, Extent, FULL, Protocol, SCALED, VERSION};
use super::published::fliqs_cost;
use crate::cost::{Convention, Costs};
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::genome::Genome;
use crate::network::Network;
use crate::ron_text;
use crate::space::{Activations, Ends, Grouping, Space, SpaceFile};

impl Protocol {
    /// The names of all protocols.
    pub const NAMES: [&'static str; 8] =
        ["resnet", "mobilenet", "vit", "resnet20", "resnet18", "resnet50", "mobilenet_v2", "deit_small"];

    /// The protocol of a name: that of a network for ImageNet is the full one with ImageNet's images and the scaled one of its
    /// family without any.
    ///
    /// # Errors
    /// An unknown name; other images than ImageNet's for its networks.
    pub fn named(name: &str, data: Option<&DataSource>) -> Result<&'static Self> {
        let full = FULL.iter().find(|(protocol, _)| protocol.name == name);
        match (full, data) {
            (Some((protocol, _)), Some(DataSource::ImageFolder(_))) => return Ok(protocol),
            (Some(_), Some(other)) => {
                let expected =
                    format!("{name} is trained on imagefolder:DIR; without --data its family's small network is");
                return Err(Error::bad_value("--data", other, expected));
            }
            _ => {}
        }
        let scaled = full.map_or(name, |(_, small)| small);
        let found = SCALED.iter().find(|protocol| protocol.name == scaled);
        found.ok_or_else(|| Error::unknown_name("NAME", name, Self::NAMES))
    }

    /// The images where none are named.
    ///
    /// # Errors
    /// It has none of its own.
    pub fn usual_data(&self) -> Result<DataSource> {
        let none = || Error::missing_option("--data", &format!("name the images: `{}` has none of its own", self.name));
        self.file()?.data.ok_or_else(none)?.parse()
    }

    /// Name and version, for rows that are kept.
    pub fn version(&self) -> String {
        format!("{} {VERSION}", self.name)
    }

    /// What is counted as cost.
    pub fn convention(&self) -> Convention {
        match self.extent {
            Extent::Scaled => Convention::Full,
            Extent::Full => Convention::Fliqs,
        }
    }

    /// All cells: seed by seed, so that what an interrupted run has finished can be compared.
    ///
    /// # Errors
    /// None in a program whose tests pass: every space and published cost is part of it.
    pub fn cells(&self, seeds: Range<u64>) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for seed in seeds {
            for &width in self.widths {
                let targets = self.targets_of(width)?;
                for &numbers in self.numbers {
                    let cell = |formats, purpose, target| Cell { numbers, formats, width, purpose, target, seed };
                    cells.extend([4, 8].map(|bits| cell(FormatSet::Uniform(bits), Purpose::Uniform, None)));
                    for &target in &targets {
                        cells.extend(self.sets.iter().map(|&set| cell(set, Purpose::Search, Some(target))));
                    }
                    if numbers == Numbers::Fp && width.to_bits() == 1.0_f64.to_bits() {
                        let extra = |&purpose| cell(FormatSet::L, purpose, targets.first().copied());
                        cells.extend(self.extras.iter().map(extra));
                    }
                }
            }
        }
        Ok(cells)
    }

    /// Shares of the int8 cost that searches at this width aim at.
    fn targets_of(&self, width: f64) -> Result<Vec<f64>> {
        if !self.targets.is_empty() {
            return Ok(self.targets.to_vec());
        }
        let model = self.published[0];
        let cost =
            fliqs_cost(model, width)?.ok_or_else(|| Error::bad_value("width", width, "has no published cost"))?;
        let cell = Cell {
            numbers: Numbers::Fp,
            formats: FormatSet::L,
            width,
            purpose: Purpose::Search,
            target: None,
            seed: 0,
        };
        let int8 = self.eight_bit_gbops(&Space::new(self.space(&cell)?)?);
        Ok(vec![(1e4 * cost / int8).round() / 1e4])
    }

    fn eight_bit_gbops(&self, space: &Space) -> f64 {
        self.gbops(&space.network(&space.widest().0).uniform(Format::Int(8)))
    }

    /// Cost of a network, in 1e9 bit operations.
    pub fn gbops(&self, network: &Network) -> f64 {
        Costs::of(network, self.convention()).gbops
    }

    fn file(&self) -> Result<SpaceFile> {
        ron_text::parse(self.space.1, self.space.0)
    }

    /// The space of a cell's network. Uniform formats are taken from that of FLIQS-L.
    ///
    /// # Errors
    /// As [`Protocol::cells`].
    pub fn space(&self, cell: &Cell) -> Result<SpaceFile> {
        let mut file = self.file()?;
        if let Some(model) = self.model {
            file.model = model.parse()?;
            file.tf_form = false;
        }
        file.width *= cell.width;
        let set = if cell.purpose == Purpose::Uniform { FormatSet::L } else { cell.formats };
        file.formats = set.formats(cell.numbers)?;
        file.activations = Activations::Tied;
        file.decisions = Grouping::Layer;
        (file.first, file.last) = (Ends::Searched, Ends::Searched);
        if cell.purpose == Purpose::Joint {
            file.elastic = ron_text::parse::<SpaceFile>(ELASTIC.1, ELASTIC.0)?.elastic;
        }
        Ok(file)
    }

    /// The genome of a uniform cell in its space.
    ///
    /// # Errors
    /// The cell is not uniform.
    pub fn uniform(&self, cell: &Cell, space: &Space) -> Result<Genome> {
        let FormatSet::Uniform(bits) = cell.formats else {
            return Err(Error::bad_value("formats", cell.formats, "expected the bits of a uniform format"));
        };
        let genome = space.uniform(cell.numbers.format(bits)?);
        genome.map(Genome).ok_or_else(|| Error::bad_value("formats", cell.formats, "not in the space"))
    }

    /// What the engine is told to aim at: the cell's target as a share of the int8 cost of the largest network in its space.
    /// Joint search aims at the cost that the search of formats alone aims at.
    ///
    /// # Errors
    /// The cell has no target.
    pub fn share(&self, cell: &Cell, space: &Space) -> Result<f64> {
        let target = cell.target.ok_or_else(|| Error::bad_value("target", "none", "expected a cell that searches"))?;
        if cell.purpose != Purpose::Joint {
            return Ok(target);
        }
        let formats_only = Space::new(self.space(&cell.search())?)?;
        Ok(target * self.eight_bit_gbops(&formats_only) / self.eight_bit_gbops(space))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn scaled(name: &str) -> &'static Protocol {
        Protocol::named(name, None).unwrap()
    }

    #[test]
    fn the_scaled_protocol_is_the_issues() {
        let names =
            |name: &str| -> Vec<String> { scaled(name).cells(0..1).unwrap().iter().map(|cell| cell.name()).collect() };
        assert_eq!(names("vit"), ["fp-4-w1-seed0", "fp-8-w1-seed0", "fp-s-w1-t0.375-seed0", "fp-l-w1-t0.375-seed0"]);
        assert_eq!(names("mobilenet")[4..], ["fp-l-w1-t0.375-joint-seed0"]);
        let resnet = names("resnet");
        assert_eq!(resnet.len(), 2 * 2 * 4 + 2);
        assert_eq!(resnet[..4], ["int-4-w1-seed0", "int-8-w1-seed0", "int-s-w1-t0.375-seed0", "int-l-w1-t0.375-seed0"]);
        assert_eq!(resnet[8..10], ["fp-l-w1-t0.375-scratch-seed0", "fp-l-w1-t0.375-no-entropy-seed0"]);
        let names20 = names("resnet20");
        assert_eq!(names20.len(), 5);
        assert_eq!(names20[2..], ["fp-l-w1-t0.35-seed0", "fp-l-w1-t0.5-seed0", "fp-l-w1-t0.75-seed0"]);
        let three: Vec<Cell> = scaled("resnet").cells(4..7).unwrap();
        assert_eq!((three.len(), three[0].seed, three[53].seed), (54, 4, 6));
    }

    #[test]
    fn every_space_holds_together_and_every_search_comes_before_what_needs_it() {
        let imagenet = DataSource::ImageFolder(PathBuf::from("x"));
        for name in Protocol::NAMES {
            let protocol = Protocol::named(name, Some(&imagenet)).unwrap();
            assert_eq!(protocol.name, name);
            let cells = protocol.cells(0..1).unwrap();
            for (index, cell) in cells.iter().enumerate() {
                let space = Space::new(protocol.space(cell).unwrap()).unwrap();
                match cell.purpose {
                    Purpose::Uniform => {
                        space.check(&protocol.uniform(cell, &space).unwrap().0).unwrap();
                    }
                    Purpose::Scratch => assert!(cells[..index].contains(&cell.search())),
                    _ => {
                        let share = protocol.share(cell, &space).unwrap();
                        assert!((0.2..1.0).contains(&share) || cell.purpose == Purpose::Joint, "{name}: {share}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_full_protocol_needs_imagenet_and_aims_at_published_costs() {
        let imagenet = DataSource::ImageFolder(PathBuf::from("x"));
        let full = Protocol::named("resnet18", Some(&imagenet)).unwrap();
        assert_eq!((full.extent, full.cells(0..1).unwrap().len()), (Extent::Full, 6 * 2 * 4));
        assert_eq!(Protocol::named("resnet18", None).unwrap().name, "resnet");
        let wrong = Protocol::named("resnet18", Some(&DataSource::FashionMnistMini)).unwrap_err().to_string();
        assert!(wrong.contains("imagefolder:DIR"), "{wrong}");
        assert!(scaled("resnet20").usual_data().unwrap_err().to_string().contains("--data"));
        assert_eq!(scaled("vit").usual_data().unwrap(), DataSource::FashionMnistMini);
        assert!(Protocol::named("resnet9", None).unwrap_err().to_string().contains("did you mean"));
        // 32.78 of 116.92 GBOPs; the network is in the form that FLIQS counts.
        assert_eq!(full.targets_of(1.0).unwrap(), [0.2804]);
    }

    #[test]
    fn joint_search_aims_at_the_cost_of_formats_alone() {
        let protocol = scaled("mobilenet");
        let cells = protocol.cells(0..1).unwrap();
        let joint = cells.iter().find(|cell| cell.purpose == Purpose::Joint).unwrap();
        let space = |cell: &Cell| Space::new(protocol.space(cell).unwrap()).unwrap();
        let aimed = |cell: &Cell| protocol.share(cell, &space(cell)).unwrap() * protocol.eight_bit_gbops(&space(cell));
        assert!((aimed(joint) / aimed(&joint.search()) - 1.0).abs() < 1e-9);
        assert!(space(joint).is_elastic() && !space(&joint.search()).is_elastic());
    }
}
