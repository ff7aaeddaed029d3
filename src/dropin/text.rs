//! PURE: one of Asterisk's configuration files, line by line, as Asterisk's own parser (`main/config.c`, 22.10.1) takes it.

/// The longest line that Asterisk reads, its end aside; longer ones it leaves out.
const LONGEST: usize = 8190;

/// What a line is to Asterisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// `[name]`, and what stands in brackets behind it.
    Section {
        name: String,
        /// `(!)`
        template: bool,
        /// `(+)`: goes on with the section of this name, of which there must be one.
        append: bool,
        /// `(base)`
        bases: Vec<String>,
    },
    /// `name = value`
    Setting { name: String, value: String },
    /// `#include` (`must`) or `#tryinclude`.
    Include { file: String, must: bool },
    /// `#exec`: what it prints is not known here.
    Exec,
    /// What Asterisk complains of in its log, and leaves out.
    Ignored,
    /// What makes Asterisk give the whole file up: the reason.
    Invalid(String),
}

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) piece: Piece,
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) lines: Vec<Line>,
    /// Where the comment begins (`;--`) that nothing ends, or the end (`--;`) of none: all behind it is unread.
    pub(super) open_comment: Option<usize>,
}

impl Text {
    /// Reads a whole file.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut text = Self::default();
        let (mut depth, mut begun) = (0_i32, 0);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| line.len() <= LONGEST) {
            let number = index + 1;
            let was = depth;
            let live = uncommented(line, &mut depth);
            if was == 0 && depth != 0 {
                begun = number;
            }
            let live = String::from_utf8_lossy(&live);
            let live = live.trim_matches(is_blank);
            if !live.is_empty() {
                text.lines.push(Line { number, piece: piece(live) });
            }
        }
        text.open_comment = (depth != 0).then_some(begun);
        text
    }
}

/// What Asterisk strips.
fn is_blank(c: char) -> bool {
    c <= ' '
}

/// A line without its comments; `depth` says in how many `;-- … --;` it begins and ends.
fn uncommented(line: &[u8], depth: &mut i32) -> Vec<u8> {
    let (mut live, mut from, mut begun) = (Vec::new(), 0, 0);
    let is_dashes = |at: usize| line.get(at..at + 2) == Some(b"--");
    while let Some(at) = line[from..].iter().position(|byte| *byte == b';').map(|found| from + found) {
        if at > from && line[at - 1] == b'\\' {
            if *depth == 0 {
                live.extend_from_slice(&line[begun..at - 1]);
                begun = at;
            }
        } else if is_dashes(at + 1) && line.get(at + 3) != Some(&b'-') {
            if *depth == 0 {
                live.extend_from_slice(&line[begun..at]);
            }
            *depth += 1;
            from = at + 3;
            continue;
        } else if at >= from + 2 && is_dashes(at - 2) {
            *depth -= 1;
            match *depth {
                0 => begun = at + 1,
                // The end of a comment that never began: Asterisk takes what follows for one.
                -1 => return [&live, &line[begun..]].concat(),
                _ => {}
            }
        } else if *depth == 0 {
            live.extend_from_slice(&line[begun..at]);
            return live;
        }
        from = at + 1;
    }
    if *depth == 0 {
        live.extend_from_slice(&line[begun..]);
    }
    live
}

fn piece(line: &str) -> Piece {
    match line.as_bytes()[0] {
        b'[' => section(&line[1..]),
        b'#' => directive(&line[1..]),
        _ => setting(line),
    }
}

/// What stands behind `[`.
fn section(line: &str) -> Piece {
    let Some((name, rest)) = line.split_once(']') else { return Piece::Invalid("has no closing ]".to_owned()) };
    let (mut template, mut append, mut bases) = (false, false, Vec::new());
    // Asterisk wants the bracket at once: `[name] (+)` is a plain section.
    if let Some(options) = rest.strip_prefix('(') {
        let Some((options, _)) = options.split_once(')') else {
            return Piece::Invalid("has no closing )".to_owned());
        };
        for option in options.split(',') {
            match option {
                "!" => template = true,
                _ if option.starts_with('+') => append = true,
                base => bases.push(base.to_owned()),
            }
        }
    }
    Piece::Section { name: name.to_owned(), template, append, bases }
}

/// What stands behind `#`.
fn directive(line: &str) -> Piece {
    let (word, argument) = line.split_once(is_blank).unwrap_or((line, ""));
    let argument = argument.trim_matches(is_blank);
    let must = match word.to_ascii_lowercase().as_str() {
        "include" => true,
        "tryinclude" => false,
        "exec" => return Piece::Exec,
        _ => return Piece::Ignored,
    };
    if argument.is_empty() {
        return Piece::Ignored;
    }
    let quoted = [('"', '"'), ('<', '>')]
        .into_iter()
        .find_map(|(open, close)| argument.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)));
    Piece::Include { file: quoted.unwrap_or(argument).to_owned(), must }
}

fn setting(line: &str) -> Piece {
    // The first character may be escaped, should a name begin with one that means something.
    let (line, from) = line.strip_prefix('\\').map_or((line, 0), |line| (line, 1));
    let Some(at) = line.get(from..).and_then(|rest| rest.find('=')).map(|at| from + at) else { return Piece::Ignored };
    let name = line[..at].strip_suffix('+').unwrap_or(&line[..at]).trim_matches(is_blank);
    let value = line[at + 1..].strip_prefix('>').unwrap_or(&line[at + 1..]).trim_matches(is_blank);
    if name.is_empty() {
        return Piece::Ignored;
    }
    Piece::Setting { name: name.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        Text::of(text.as_bytes()).lines.into_iter().map(|line| line.piece).collect()
    }

    fn setting(name: &str, value: &str) -> Piece {
        Piece::Setting { name: name.to_owned(), value: value.to_owned() }
    }

    fn include(file: &str, must: bool) -> Piece {
        Piece::Include { file: file.to_owned(), must }
    }

    #[test]
    fn settings_are_read_as_asterisk_reads_them() {
        for (line, expected) in [
            ("a=b", vec![setting("a", "b")]),
            (" exten => 100,1,Dial(PJSIP/100) ; who\r", vec![setting("exten", "100,1,Dial(PJSIP/100)")]),
            ("a = b=c", vec![setting("a", "b=c")]),
            ("a += b", vec![setting("a", "b")]),
            (r"password = x\;y ; z", vec![setting("password", "x;y")]),
            (r"\[a = b", vec![setting("[a", "b")]),
            ("no equal sign", vec![Piece::Ignored]),
            (" = b", vec![Piece::Ignored]),
            ("; a = b", vec![]),
            (";;; --------", vec![]),
            (";------; a = b", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(pieces(line), expected, "{line}");
        }
    }

    #[test]
    fn headers_are_read_with_what_stands_behind_them() {
        let section = |name: &str, template, append, bases: &[&str]| Piece::Section {
            name: name.to_owned(),
            template,
            append,
            bases: bases.iter().map(|base| (*base).to_owned()).collect(),
        };
        for (line, expected) in [
            ("[a]", section("a", false, false, &[])),
            ("[a](!)", section("a", true, false, &[])),
            ("[a](+) ; more", section("a", false, true, &[])),
            ("[a](+type=endpoint)", section("a", false, true, &[])),
            ("[a](b,c)", section("a", false, false, &["b", "c"])),
            ("[a](!,b)", section("a", true, false, &["b"])),
            ("[a] (+)", section("a", false, false, &[])),
            ("[a", Piece::Invalid("has no closing ]".to_owned())),
            ("[a](b", Piece::Invalid("has no closing )".to_owned())),
        ] {
            assert_eq!(pieces(line), [expected], "{line}");
        }
    }

    #[test]
    fn includes_are_read_with_and_without_quotes() {
        for (line, expected) in [
            (r#"#include "a.conf""#, include("a.conf", true)),
            ("#include <a.conf>", include("a.conf", true)),
            ("#include a.conf ; FreePBX", include("a.conf", true)),
            (r#"#tryinclude "capconduit.d/pjsip.conf" ; capconduit"#, include("capconduit.d/pjsip.conf", false)),
            ("#TryInclude\tx", include("x", false)),
            ("#include", Piece::Ignored),
            ("#exec /bin/x", Piece::Exec),
            ("#else", Piece::Ignored),
        ] {
            assert_eq!(pieces(line), [expected], "{line}");
        }
    }

    #[test]
    fn comments_of_several_lines_hide_what_is_in_them_and_one_that_is_open_hides_the_rest() {
        assert_eq!(pieces("a=1 ;-- b=2\nc=3\n--; d=4\n"), [setting("a", "1"), setting("d", "4")]);
        assert_eq!(pieces("a=1;-- x --;2\n"), [setting("a", "12")]);
        assert_eq!(pieces(";-- ;-- a=1 --; b=2 --; c=3"), [setting("c", "3")]);
        let open = Text::of(b"a=1\n;-- all of this\n#include x\n");
        assert_eq!((open.lines.len(), open.open_comment), (1, Some(2)));
        // A comment's end that ends none begins one, to Asterisk.
        let stray = Text::of(b"a=1\nexten => 1,1,NoOp(x--; y)\nb=2\n");
        assert_eq!((stray.lines.len(), stray.open_comment), (2, Some(2)));
        assert_eq!(Text::of(b";--\n--;\n").open_comment, None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_a_file_has_it_is_read(bytes: Vec<u8>, text in "[\\[\\]()#;=+!,\\\\\"\n a-c-]{0,200}") {
            Text::of(&bytes);
            Text::of(text.as_bytes());
            let folder = super::super::fixtures::folder(&[("x.conf", text.as_str()), ("a", "[b]\n")]);
            super::super::reading::Reading::of(&folder, "x.conf");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_a_mark_of_utf_8_is_no_name() {
        let long = format!("a={}\nb=2", "x".repeat(LONGEST));
        assert_eq!(pieces(&long), [setting("b", "2")]);
        assert_eq!(pieces("\u{feff}[general]").len(), 1);
        assert!(matches!(&pieces("\u{feff}[general]")[0], Piece::Section { name, .. } if name == "general"));
    }
}
