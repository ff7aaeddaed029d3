//! The alert rules: Prometheus' own tool takes them and their tests; none is without a test, a runbook and a name that the program writes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use serde_json::Value;

use crate::names;
use crate::tools::repository;

const RULES: &str = "packaging/prometheus/capconduit.rules.yml";
const TESTS: &str = "packaging/prometheus/capconduit.rules.test.yml";
const RUNBOOK: &str = "packaging/prometheus/RUNBOOK.md";

/// Runs promtool to its end, which must be a good one.
#[track_caller]
pub(crate) fn promtool(args: &[&str]) -> String {
    let run = Command::new("promtool").args(args).current_dir(repository("")).output();
    let Output { status, stdout, stderr } = run.unwrap_or_else(|e| panic!("promtool: {e}; run `just setup`"));
    let told = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "promtool {}: {told}", args.join(" "));
    told
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// The rules by their alerts' names.
fn rules() -> BTreeMap<String, Value> {
    let file = yaml(RULES);
    let all: Vec<Value> = each(&file, "groups").flat_map(|group| each(group, "rules")).cloned().collect();
    let named: BTreeMap<String, Value> =
        all.iter().map(|rule| (rule["alert"].as_str().expect("an alert").to_owned(), rule.clone())).collect();
    assert_eq!(named.len(), all.len(), "each has a name of its own");
    named
}

#[test]
fn prometheus_takes_them_and_their_tests_hold() {
    promtool(&["check", "rules", RULES]);
    promtool(&["test", "rules", TESTS]);
}

#[test]
fn each_is_tested_where_it_fires_and_where_it_does_not() {
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for case in each(&yaml(TESTS), "tests").flat_map(|test| each(test, "alert_rule_test")) {
        let name = case["alertname"].as_str().expect("a name").to_owned();
        let expected = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
        if expected {
            fires.insert(name)
        } else {
            quiet.insert(name)
        };
    }
    let all: BTreeSet<String> = rules().into_keys().collect();
    assert_eq!((&fires, &quiet), (&all, &all));
}

#[test]
fn each_says_what_to_do() {
    let runbook = text(RUNBOOK);
    let mut paragraphs = BTreeMap::new();
    for section in runbook.split("\n## ").skip(1) {
        let (name, body) = section.split_once('\n').expect("a heading and a paragraph");
        assert!(body.trim().len() > 150, "{name} says too little");
        paragraphs.insert(name.to_owned(), body);
    }
    let rules = rules();
    assert_eq!(
        paragraphs.keys().collect::<Vec<_>>(),
        rules.keys().collect::<Vec<_>>(),
        "a paragraph for each, and no other"
    );
    for (name, rule) in rules {
        let annotations = &rule["annotations"];
        assert_eq!(annotations["runbook"], format!("RUNBOOK.md#{}", name.to_lowercase()), "{name}");
        assert!(["critical", "warning"].iter().any(|severity| rule["labels"]["severity"] == *severity), "{name}");
        for key in ["summary", "description"] {
            assert!(annotations[key].as_str().is_some_and(|text| text.len() > 15), "{name}: {key}");
        }
    }
}

#[test]
fn each_names_what_is_written() {
    let mut faults = Vec::new();
    for rule in rules().values() {
        let texts: Vec<&str> =
            rule["annotations"].as_object().expect("annotations").values().filter_map(Value::as_str).collect();
        faults.extend(names::faults(rule["expr"].as_str().expect("an expression"), &texts));
    }
    assert_eq!(faults, Vec::<String>::new());
}
