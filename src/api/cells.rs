//! PURE: what a cell of a CSV file holds, so that no spreadsheet takes any of it for a formula: callers choose their names. The one place
//! for that (OWASP, "CSV Injection").

use std::borrow::Cow;

use crate::routing::number::is_e164;
use crate::text::is_invisible;

/// The cell as it is written: text that some spreadsheet may take for a formula begins with an apostrophe, and so does what follows a
/// separator within it, which is a cell of its own where another separator is the country's. A number in E.164 is what it is.
pub(super) fn harmless(cell: &str) -> Cow<'_, str> {
    // Some importers drop what only moves on at the beginning.
    let begin = if cell.starts_with(['\t', '\r', '\n']) { "'" } else { "" };
    if is_e164(cell) || (begin.is_empty() && !parts(cell).any(is_formula)) {
        return Cow::Borrowed(cell);
    }
    let mark = |part| [if is_formula(part) { "'" } else { "" }, part].concat();
    Cow::Owned(std::iter::once(begin.to_owned()).chain(parts(cell).map(mark)).collect())
}

/// What may become a cell of its own, each with the separator at its end.
fn parts(cell: &str) -> impl Iterator<Item = &str> {
    cell.split_inclusive([';', ',', '\t', '\r', '\n', '；', '，'])
}

/// Whether the first that is seen of it, blanks and quotes aside, begins a formula.
fn is_formula(part: &str) -> bool {
    let skipped = |c: char| c.is_whitespace() || is_invisible(c) || "\"'“”‘’＂＇".contains(c);
    // Full-width and small forms are read as the signs themselves in East Asian versions.
    let sign = |c: char| "=+-@＝＋－＠﹦﹢﹣﹫−".contains(c);
    part.trim_start_matches(skipped).starts_with(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for hostile in [
            "=HYPERLINK(\"http://x\")",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "\nx",
            "+44 20 7123 4567",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "﹦1",
            "−1",
            " =1",
            "\u{a0}=1",
            "\u{3000}＝1",
            "\"=1\"",
            "' =1",
            "\u{feff}=1",
            "\u{200b}=1",
        ] {
            assert_eq!(harmless(hostile), format!("'{hostile}"));
        }
        for quiet in ["+442071234567", "Ann", "", "a=b", "'x", "A; B, C", "1-2", "2026-11-30T10:00:00+00:00", "x;", ";"]
        {
            assert_eq!(harmless(quiet), quiet);
        }
    }

    #[test]
    fn what_follows_a_separator_is_no_formula_either() {
        for (given, written) in [
            ("x;=1", "x;'=1"),
            ("x,=1", "x,'=1"),
            ("x\t=1", "x\t'=1"),
            ("x\n=1;+2", "x\n'=1;'+2"),
            ("x\r\n=1", "x\r\n'=1"),
            ("\t=1", "'\t'=1"),
            ("a\r\nb", "a\r\nb"),
            ("x; \"=1\"", "x;' \"=1\""),
            ("=1;=2;y", "'=1;'=2;y"),
            ("x；＝1", "x；'＝1"),
            (";;@x", ";;'@x"),
            ("+442071234567;=1", "'+442071234567;'=1"),
        ] {
            assert_eq!(harmless(given), written);
        }
    }
}
