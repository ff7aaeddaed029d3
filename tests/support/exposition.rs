//! Prometheus' text format, held against what the program says that it can write (`telemetry/catalogue.rs`).

use std::collections::BTreeSet;

use capconduit::telemetry::catalogue::{self, Kind, METRICS, Metric, Values};

/// The metric that a series is of, and what is added to its name.
pub(crate) fn metric_of(name: &str) -> Option<(&'static Metric, &str)> {
    if let Some(metric) = catalogue::find(name) {
        // Of a histogram there is no series of its own name.
        return (metric.kind != Kind::Histogram).then_some((metric, ""));
    }
    let of = |suffix| {
        let metric = catalogue::find(name.strip_suffix(suffix)?)?;
        (metric.kind == Kind::Histogram).then_some((metric, suffix))
    };
    ["_bucket", "_sum", "_count"].into_iter().find_map(of)
}

/// Whether a label can hold a value; what is the operator's own can be anything. `operations`: the API's.
pub(crate) fn can_hold(values: Values, value: &str, operations: Option<&BTreeSet<String>>) -> bool {
    match values {
        Values::Words(all) => all().contains(&value),
        Values::Row => value.parse::<i64>().is_ok(),
        Values::Operation => operations.is_none_or(|known| value == "none" || known.contains(value)),
        Values::Node | Values::Client | Values::Version => !value.is_empty(),
    }
}

/// Series of a scrape that the catalogue does not know, each with why.
pub(crate) fn strangers(text: &str) -> Vec<String> {
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    samples.filter_map(|line| stranger(line).map(|why| format!("{line}: {why}"))).collect()
}

fn stranger(line: &str) -> Option<String> {
    let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
    let Some((metric, suffix)) = metric_of(name) else { return Some("no such metric".to_owned()) };
    let mut expected: BTreeSet<&str> = metric.labels.iter().map(|(label, _)| *label).collect();
    if suffix == "_bucket" {
        expected.insert("le");
    }
    let labels = labels(rest);
    let found: BTreeSet<&str> = labels.iter().map(|(label, _)| label.as_str()).collect();
    if found != expected {
        return Some(format!("it has {expected:?}"));
    }
    let wrong = labels.iter().find(|(label, value)| {
        let values = metric.labels.iter().find(|(name, _)| name == label);
        values.is_some_and(|(_, values)| !can_hold(*values, value, None))
    });
    wrong.map(|(label, value)| format!("{label} cannot hold {value:?}"))
}

/// The labels behind a name.
fn labels(text: &str) -> Vec<(String, String)> {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')).map(|(inner, _)| inner) else {
        return Vec::new();
    };
    let (mut found, mut rest) = (Vec::new(), inner);
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut end = 0;
        let bytes = after.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let end = end.min(after.len());
        found.push((label.trim_start_matches(',').to_owned(), after[..end].to_owned()));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    found
}

/// Help and type stand before the samples of each metric, as the catalogue has them; what does not.
pub(crate) fn untold(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for metric in METRICS {
        let has_samples = text.lines().any(|line| {
            let name = &line[..line.find(['{', ' ']).unwrap_or(line.len())];
            metric_of(name).is_some_and(|(of, _)| of.name == metric.name)
        });
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let heads = [format!("# HELP {} {}", metric.name, metric.help()), format!("# TYPE {} {kind}", metric.name)];
        let missing =
            heads.into_iter().filter(|head| has_samples && text.lines().filter(|line| line == head).count() != 1);
        faults.extend(missing);
    }
    faults
}
