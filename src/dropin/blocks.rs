//! PURE: a file that is delivered, cut into its sections as they are written, each with the comment in front of it.

/// A section with its comment, or what stands before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) lines: Vec<&'a str>,
}

/// Cuts a text.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = vec![Block { name: None, lines: Vec::new() }];
    // Comments and empty lines, which belong to what follows if that is a header.
    let mut waiting = Vec::new();
    for line in text.lines() {
        let Some(last) = blocks.last_mut() else { break };
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            waiting.push(line);
            blocks.push(Block { name: Some(name), lines: std::mem::take(&mut waiting) });
        } else if line.trim().is_empty() || line.starts_with(';') {
            waiting.push(line);
        } else {
            last.lines.append(&mut waiting);
            last.lines.push(line);
        }
    }
    if let Some(last) = blocks.last_mut() {
        last.lines.append(&mut waiting);
    }
    blocks
}

/// `name = value` of a section, in order.
pub(super) fn settings<'a>(text: &'a str, section: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let fits = blocks(text).into_iter().filter(move |block| block.name == Some(section));
    let lines = fits.flat_map(|block| block.lines).filter(|line| !line.starts_with(';'));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim(), value.trim_start_matches('>').trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_the_section_that_it_stands_in_front_of() {
        let text = "; head\n\n[a]\nx = 1\n; of x\n\n; of b\n[b](!)\ny => 2\n; end\n";
        let names: Vec<_> = blocks(text).into_iter().map(|block| (block.name, block.lines.len())).collect();
        assert_eq!(names, [(None, 0), (Some("a"), 4), (Some("b"), 6)]);
        assert_eq!(settings(text, "b").collect::<Vec<_>>(), [("y", "2")]);
    }
}
