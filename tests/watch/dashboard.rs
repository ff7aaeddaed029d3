//! The dashboard: Grafana's schema knows all that is in it, its queries ask for what is written, and no data source is fixed.

use serde_json::Value;

use crate::names;
use crate::rules::promtool;
use crate::tools::{program, repository, succeed};

const DASHBOARD: &str = "packaging/grafana/capconduit.json";

fn dashboard() -> Value {
    let text = std::fs::read_to_string(repository(DASHBOARD)).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// Every object that is in it, at whatever depth.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match value {
        Value::Object(fields) => {
            found.push(fields);
            fields.values().for_each(|field| objects(field, found));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| objects(entry, found)),
        _ => {}
    }
}

/// The queries of its panels, each with its legend.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    objects(dashboard, &mut all);
    let text = |fields: &serde_json::Map<String, Value>, key: &str| fields[key].as_str().unwrap_or_default().to_owned();
    let queries = all.into_iter().filter(|fields| fields.contains_key("refId") && fields.contains_key("expr"));
    let queries: Vec<_> = queries.map(|fields| (text(fields, "expr"), text(fields, "legendFormat"))).collect();
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

#[tokio::test]
async fn grafana_knows_all_that_is_in_it() {
    let check = ["tests/watch/dashboard.py", DASHBOARD];
    let told = succeed(program("python").args(check)).await;
    assert!(told.contains("0 faults"), "{told}");
    // That it would say so.
    let folder = tempfile::tempdir().expect("a folder");
    let good = std::fs::read_to_string(repository(DASHBOARD)).expect("the dashboard");
    for (right, wrong, expected) in [
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lines\"", "'lines' is not allowed"),
        ("\"legendFormat\"", "\"legendformat\"", "legendformat is unknown"),
    ] {
        let path = folder.path().join("bad.json");
        std::fs::write(&path, good.replacen(right, wrong, 1)).expect("a file");
        let run = program("python").arg("tests/watch/dashboard.py").arg(&path).output().await.expect("it runs");
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(!run.status.success() && told.contains(expected), "{told}");
    }
}

#[test]
fn no_data_source_is_fixed() {
    let dashboard = dashboard();
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!((&variable["type"], &variable["query"]), (&"datasource".into(), &"prometheus".into()));
    let mut all = Vec::new();
    objects(&dashboard, &mut all);
    let sources: Vec<&Value> = all.iter().filter_map(|fields| fields.get("datasource")).collect();
    assert!(sources.len() > 40);
    for source in sources {
        assert_eq!(source["uid"], "${datasource}");
    }
    // Grafana gives it one; with one of its own it would be put over another.
    assert!(dashboard.get("id").is_none_or(Value::is_null));
}

#[test]
fn prometheus_takes_its_queries() {
    let rules: Vec<Value> = queries(&dashboard())
        .iter()
        .enumerate()
        .map(|(n, (query, _))| serde_json::json!({"record": format!("query:{n}"), "expr": query.replace("$__rate_interval", "5m")}))
        .collect();
    let file = serde_json::json!({"groups": [{"name": "queries", "rules": rules}]});
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queries.yml");
    std::fs::write(&path, serde_yaml::to_string(&file).expect("YAML")).expect("a file");
    promtool(&["check", "rules", &path.display().to_string()]);
}

#[test]
fn its_queries_name_what_is_written() {
    let dashboard = dashboard();
    let mut faults: Vec<String> =
        queries(&dashboard).iter().flat_map(|(query, legend)| names::faults(query, &[legend])).collect();
    // Its variables: label_values(metric, label).
    for variable in dashboard["templating"]["list"].as_array().expect("a list").iter().skip(1) {
        let query = variable["query"]["query"].as_str().expect("a query");
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("label_values");
        let (metric, label) = inner.rsplit_once(',').expect("a metric and a label");
        faults.extend(names::faults(metric, &[&format!("{{{{{}}}}}", label.trim())]));
    }
    assert_eq!(faults, Vec::<String>::new());
}
