//! The experiments behind published claims, as data: which networks are trained ([`Protocol`], [`Cell`]), what is kept of each
//! ([`Row`]), what the claims say of them ([`claims()`]), and the published figures ([`fliqs`], [`hawq_v3`]).
//!
//! Nothing here trains: `bitfront reproduce` does, and writes what this module makes of the results.

mod cell;
mod claims;
mod curves;
mod experiments;
mod protocol;
mod published;
mod row;

pub use cell::{Cell, FormatSet, Numbers, Purpose};
pub use claims::{Claim, MARGIN, Point, Rule, claims};
pub use curves::{Curve, CurvePoint, curves};
pub use experiments::{Extent, Protocol};
pub use published::{
    HawqPoint, PublishedPoint, Recomputed, fliqs, fliqs_cost, hawq_v3, published_points, recomputed, recomputed_hawq,
};
pub use row::{Conditions, Row, SwitchingSeries, check_conditions, find};
