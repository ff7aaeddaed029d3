//! Every metric, label and value that rules and dashboard name is one that the program can write. promtool takes `ending="answered"`, which
//! there is not.

use std::collections::BTreeSet;

use capconduit::api;
use capconduit::telemetry::catalogue::Values;
use serde_json::Value;

use crate::exposition::{can_hold, metric_of};
use crate::promql::{self, Asked, Selector};

/// What every scrape adds.
const OF_SCRAPES: [&str; 2] = ["instance", "job"];

/// Ids of the API's operations.
fn operations() -> BTreeSet<String> {
    let document: Value = serde_yaml::from_str(&api::spec(None).expect("a document")).expect("YAML");
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.values().filter_map(Value::as_object).flat_map(|path| path.values());
    all.filter_map(|operation| operation["operationId"].as_str().map(str::to_owned)).collect()
}

/// What is wrong with what an expression, and the texts beside it, name.
pub(crate) fn faults(expression: &str, texts: &[&str]) -> Vec<String> {
    let (asked, operations) = (promql::read(expression), operations());
    let mut faults: Vec<String> =
        asked.selectors.iter().flat_map(|selector| of_selector(selector, &operations)).collect();
    let labels = labels(&asked);
    let grouped = asked.labels.iter().map(String::as_str);
    let told = texts.iter().flat_map(|text| told(text));
    for label in grouped.chain(told).filter(|label| !labels.contains(*label)) {
        faults.push(format!("label {label} is of none of the metrics"));
    }
    faults.iter().map(|fault| format!("{expression}: {fault}")).collect()
}

fn of_selector(selector: &Selector, operations: &BTreeSet<String>) -> Vec<String> {
    let Selector { metric: name, matchers } = selector;
    if name == "up" {
        let strange = matchers.iter().filter(|(label, ..)| !OF_SCRAPES.contains(&label.as_str()));
        return strange.map(|(label, ..)| format!("up has no label {label}")).collect();
    }
    let Some((metric, suffix)) = metric_of(name) else { return vec![format!("there is no metric {name}")] };
    let mut faults = Vec::new();
    for (label, operator, value) in matchers {
        if OF_SCRAPES.contains(&label.as_str()) || (label == "le" && suffix == "_bucket") {
            continue;
        }
        let Some((_, values)) = metric.labels.iter().find(|(known, _)| known == label) else {
            faults.push(format!("{name} has no label {label}"));
            continue;
        };
        let alternatives: Vec<&str> = if operator.contains('~') { value.split('|').collect() } else { vec![value] };
        // Variables of a dashboard stand for what there is.
        let is_open = |value: &&str| value.starts_with('$') && matches!(values, Values::Node);
        let wrong = alternatives.iter().filter(|value| !is_open(value) && !can_hold(*values, value, Some(operations)));
        faults.extend(wrong.map(|value| format!("{name}: {label} is never {value:?}")));
    }
    faults
}

/// Labels that what an expression asks for can have.
fn labels(asked: &Asked) -> BTreeSet<String> {
    let own = asked.selectors.iter().filter_map(|selector| metric_of(&selector.metric));
    let own = own.flat_map(|(metric, suffix)| {
        metric.labels.iter().map(|(label, _)| *label).chain((suffix == "_bucket").then_some("le"))
    });
    own.chain(OF_SCRAPES).map(str::to_owned).collect()
}

/// Labels that a text shows: `{{ $labels.node }}` of an alert, `{{node}}` of a legend.
fn told(text: &str) -> Vec<&str> {
    let places = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(inner, _)| inner.trim());
    places.filter_map(label).collect()
}

/// The label that is shown by what stands in two braces.
fn label(inner: &str) -> Option<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some((_, label)) = inner.split_once("$labels.") {
        return label.split(|c: char| !is_of_name(c)).next();
    }
    (inner.chars().all(is_of_name) && !["else", "end"].contains(&inner)).then_some(inner)
}

#[test]
fn what_is_never_written_is_found() {
    let said = |expression: &str, text: &str| faults(expression, &[text]).join("\n");
    for (expression, text, expected) in [
        ("capconduit_calls", "", "there is no metric capconduit_calls"),
        ("rate(capconduit_calls_total{ending=\"answered\"}[5m])", "", "ending is never \"answered\""),
        ("capconduit_calls_total{ending=~\"completed|talked\"}", "", "ending is never \"talked\""),
        ("capconduit_calls_total{node=\"a\"}", "", "has no label node"),
        ("sum by (node) (capconduit_calls_total)", "", "label node is of none"),
        ("capconduit_records_waiting", "{{ $labels.node }} is late", "label node is of none"),
        ("capconduit_records_waiting", "{{ with $labels.node }}{{ . }}{{ end }}", "label node is of none"),
        ("capconduit_records_waiting", "{{client}}", "label client is of none"),
        ("capconduit_setup_seconds", "", "there is no metric capconduit_setup_seconds"),
        ("capconduit_setup_seconds_bucket{operation=\"x\"}", "", "has no label operation"),
        ("capconduit_api_request_seconds_count{operation=\"listCats\"}", "", "operation is never \"listCats\""),
        ("capconduit_cap_used{cap=\"group\"}", "", "cap is never \"group\""),
        ("up{node=\"a\"}", "", "up has no label node"),
    ] {
        assert!(said(expression, text).contains(expected), "{expression}: {}", said(expression, text));
    }
    for (expression, text) in [
        ("sum by (ending) (capconduit_calls_total{ending!=\"completed\", instance=~\"$instance\"})", "{{ending}}"),
        (
            "histogram_quantile(0.9, sum by (le, operation) (capconduit_api_request_seconds_bucket{operation=\"listCalls\"}))",
            "x",
        ),
        (
            "capconduit_node_ready{node=~\"$node\"} == 0",
            "{{ if lt $value 1.0 }}{{ $labels.node }}{{ else }}{{ end }} {{ $value | humanize }}",
        ),
    ] {
        assert_eq!(said(expression, text), "");
    }
}
