//! PURE: how two texts differ, line by line, as people are used to see it.

/// Lines around a change that are shown as well.
const AROUND: usize = 2;

/// The lines of the change from `old` to `new`: those that go with `-` in front, those that come with `+`, and some of those around.
pub(super) fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = |lines: &[&str]| lines.len() - start;
    let ends = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let end = ends.min(rest(&old)).min(rest(&new));
    let middle = changed(&old[start..old.len() - end], &new[start..new.len() - end]);
    let before = start.saturating_sub(AROUND)..start;
    let after = old.len() - end..(old.len() - end + AROUND).min(old.len());
    let same = |line: &&str| format!("  {line}");
    let mut lines: Vec<String> = old[before].iter().map(same).collect();
    lines.extend(middle);
    lines.extend(old[after].iter().map(same));
    lines
}

/// By the longest common subsequence: the files are short.
fn changed(old: &[&str], new: &[&str]) -> Vec<String> {
    let width = new.len() + 1;
    let mut longest = vec![0_usize; (old.len() + 1) * width];
    for (at, line) in old.iter().enumerate().rev() {
        for (other, new_line) in new.iter().enumerate().rev() {
            longest[at * width + other] = if line == new_line {
                longest[(at + 1) * width + other + 1] + 1
            } else {
                longest[(at + 1) * width + other].max(longest[at * width + other + 1])
            };
        }
    }
    let (mut at, mut other, mut lines) = (0, 0, Vec::new());
    while at < old.len() || other < new.len() {
        if at < old.len() && other < new.len() && old[at] == new[other] {
            lines.push(format!("  {}", old[at]));
            (at, other) = (at + 1, other + 1);
        } else if at < old.len()
            && (other == new.len() || longest[(at + 1) * width + other] >= longest[at * width + other + 1])
        {
            lines.push(format!("- {}", old[at]));
            at += 1;
        } else {
            lines.push(format!("+ {}", new[other]));
            other += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_what_stands_around_them() {
        assert_eq!(diff("a\nb\nc\nd\n", "a\nb\nc\nd\nnew\n"), ["  c", "  d", "+ new"]);
        assert_eq!(diff("", "a\nb\n"), ["+ a", "+ b"]);
        assert_eq!(diff("a\n", ""), ["- a"]);
        assert_eq!(diff("a\nx\nb\ny\nc\n", "a\nb\nz\nc\n"), ["  a", "- x", "  b", "- y", "+ z", "  c"]);
        assert!(diff("a\n", "a\n").iter().all(|line| line.starts_with("  ")));
        assert_eq!(diff("a\na\n", "a\n"), ["  a", "- a"]);
    }
}
