//! The front as one JSON object.

use serde_json::Map;
use serde_json::Value;
use serde_json::json as value;

use super::Entry;
use super::Front;
use super::front::by_cost;

/// One object: `front` and `uniform` (by rising cost) and `knee` (the id of a member of the front, or null). Every
/// network names its nearest uniform format and how many times cheaper it is (`ratio`); both are null when no uniform
/// format reaches its top-1. A uniform format also names who dominates it (`dominated_by`).
pub fn json(front: &Front) -> Value {
    let of_front: Vec<Value> = by_cost(&front.front).into_iter().map(|entry| network(front, entry).into()).collect();
    let uniform = |entry: &Entry| {
        let mut object = network(front, entry);
        object.insert("dominated_by".into(), value!(front.dominator(entry).map(|other| &other.name)));
        Value::from(object)
    };
    let uniform: Vec<Value> = by_cost(&front.uniform).into_iter().map(uniform).collect();
    // A front without a knee (a cost of zero has no logarithm) is still worth printing.
    let knee = front.knee().ok().flatten().map(|entry| entry.id);
    value!({ "front": of_front, "uniform": uniform, "knee": knee })
}

fn network(front: &Front, entry: &Entry) -> Map<String, Value> {
    let nearest = front.nearest_uniform(entry);
    let fields = [
        ("id", value!(entry.id)),
        ("name", value!(entry.name)),
        ("top1", value!(entry.top1)),
        ("test_top1", value!(entry.test_top1)),
        (front.cost.as_str(), value!(entry.cost)),
        ("latency_ms", value!(entry.latency_ms)),
        ("latency_meas_ms", value!(entry.latency_meas_ms)),
        ("size_mb", value!(entry.size_mb)),
        ("act_mem_kb", value!(entry.act_mem_kb)),
        ("avg_w_bits", value!(entry.avg_w_bits)),
        ("avg_a_bits", value!(entry.avg_a_bits)),
        ("nearest_uniform", value!(nearest.map(|(uniform, _)| &uniform.name))),
        ("ratio", value!(nearest.map(|(_, ratio)| ratio))),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::front::tests::entry;
    use crate::report::front::tests::small;

    #[test]
    fn networks_are_sorted_and_carry_the_costs_name() {
        let object = json(&small());
        let ids: Vec<u64> = object["front"].as_array().unwrap().iter().map(|e| e["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [7, 12, 30]);
        assert_eq!(object["knee"], 12);
        let second = &object["front"][1];
        assert_eq!(second["gbops"], 0.1);
        assert_eq!(second["nearest_uniform"], "int8");
        assert!((second["ratio"].as_f64().unwrap() - 6.0).abs() < 1e-9);
        assert_eq!(second.as_object().unwrap().len(), 13);
        assert!(object["front"][2]["nearest_uniform"].is_null() && object["front"][2]["ratio"].is_null());
    }

    #[test]
    fn uniform_formats_name_who_dominates_them() {
        let object = json(&small());
        let by: Vec<Option<&str>> =
            object["uniform"].as_array().unwrap().iter().map(|entry| entry["dominated_by"].as_str()).collect();
        assert_eq!(by, [None, Some("#12"), Some("#12"), Some("#30")]);
    }

    #[test]
    fn nothing_and_a_front_without_logarithm_are_printed() {
        assert_eq!(json(&Front::default()), value!({ "front": [], "uniform": [], "knee": null }));
        let free = Front { front: vec![entry("#1", 0.0, 50.0)], ..small() };
        assert!(json(&free)["knee"].is_null());
        assert_eq!(json(&free)["front"][0]["gbops"], 0.0);
    }
}
