//! PURE: columns of text.

use crate::text::is_invisible;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Lines up `rows` below the headings. Columns are as wide as their widest cell, cells longer than the column's limit are cut.
pub(crate) fn render(columns: &[(&str, Align, usize)], rows: Vec<Vec<String>>) -> String {
    let headings = columns.iter().map(|(heading, _, _)| (*heading).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(headings)
        .chain(rows)
        .map(|row| row.iter().zip(columns).map(|(cell, (_, _, limit))| cut(&safe(cell), *limit)).collect())
        .collect();
    let width = |at: usize| lines.iter().map(|line: &Vec<String>| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut shown = String::new();
        for ((cell, width), (_, align, _)) in line.iter().zip(&widths).zip(columns) {
            match align {
                Align::Left => shown.push_str(&format!("{cell:<width$}  ")),
                Align::Right => shown.push_str(&format!("{cell:>width$}  ")),
            }
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// `text` without what could steer the terminal: callers choose some of it.
pub(crate) fn safe(text: &str) -> String {
    text.replace(steers, "\u{fffd}")
}

/// As [`safe`], but lines stay lines.
pub(crate) fn lines(text: &str) -> String {
    text.replace(|c: char| steers(c) && c != '\n', "\u{fffd}")
}

/// Controls, and what is not seen or turns the line around: names that were stored before the rule may have it.
fn steers(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}
