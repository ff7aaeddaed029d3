//! What a PromQL expression asks for. That it is one, promtool says; here are only its names.

/// Series that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The metric.
    pub(crate) metric: String,
    /// Label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// All that an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Series.
    pub(crate) selectors: Vec<Selector>,
    /// Labels that it groups or joins by.
    pub(crate) labels: Vec<String>,
}

const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const AGGREGATORS: &[&str] = &["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "stddev", "group"];
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"];

/// Reads an expression.
pub(crate) fn read(expression: &str) -> Asked {
    let (mut asked, mut rest) = (Asked::default(), expression);
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = after_text(rest).1;
        } else if first == '[' {
            rest = rest.split_once(']').map_or("", |(_, after)| after);
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if GROUPING.contains(&word) {
                let (list, after) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).unwrap_or(("", rest));
                asked
                    .labels
                    .extend(list.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned));
                rest = after;
            } else if !rest.starts_with('(') && !AGGREGATORS.contains(&word) && !WORDS.contains(&word) {
                let (matchers, after) = matchers(rest);
                asked.selectors.push(Selector { metric: word.to_owned(), matchers });
                rest = after;
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    asked
}

/// The matchers in braces, if there are any, and what follows.
fn matchers(text: &str) -> (Vec<(String, String, String)>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let end = rest.find(['=', '!']).unwrap_or_else(|| panic!("no operator in {rest:?}"));
        let (label, after) = rest.split_at(end);
        let value = after.find('"').unwrap_or_else(|| panic!("no value in {rest:?}"));
        let operator = after[..value].trim().to_owned();
        let (text, after) = after_text(&after[value..]);
        found.push((label.trim().to_owned(), operator, text));
        rest = after;
    }
}

/// The text in quotes that this begins with, and what follows.
fn after_text(quoted: &str) -> (String, &str) {
    let inner = &quoted[1..];
    let end = inner.find('"').unwrap_or_else(|| panic!("no end of {quoted:?}"));
    (inner[..end].to_owned(), &inner[end + 1..])
}

#[test]
fn names_are_found_wherever_they_stand() {
    let asked = read(
        "sum without (ending) (rate(a_total{ending=~\"x|y\", node!=\"n\"}[5m])) / on (node) group_left (v) b > 36 * 3600 \
         unless max by(le, node) (c_bucket{}) == 1e3 or label_replace(d, \"dst\", \"$1\", \"src\", \"(.*)\")",
    );
    let names: Vec<&str> = asked.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(names, ["a_total", "b", "c_bucket", "d"]);
    let matcher = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    assert_eq!(asked.selectors[0].matchers, [matcher("ending", "=~", "x|y"), matcher("node", "!=", "n")]);
    assert_eq!(asked.labels, ["ending", "node", "v", "le", "node"]);
}
