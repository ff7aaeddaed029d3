//! PURE: which characters a name, or other text that people read, may have: none that is not seen or that turns what is seen around
//! (Unicode Technical Report 36, section 2.5; RFC 8264, section 9.11 and following). What was stored before the rule stays as it is.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';

/// What is allowed, when a name is not: it goes into records, logs, tables and a SIP header.
#[must_use]
pub fn name_problem(name: &str) -> Option<String> {
    name_form_problem(name).map(str::to_owned).or_else(|| hidden_problem(name))
}

/// The same, but for characters that are not seen: what every stored name satisfies, however old it is.
#[must_use]
pub fn name_form_problem(name: &str) -> Option<&'static str> {
    let length = name.chars().count();
    let sound = (1..=100).contains(&length) && name.trim() == name && !name.chars().any(char::is_control);
    (!sound).then_some("use 1 to 100 characters, none of them a control character, no space at either end")
}

/// Which character of a text is not seen or turns others around, and what is allowed; controls are another rule's.
#[must_use]
pub fn hidden_problem(text: &str) -> Option<String> {
    hidden(text).map(|found| {
        format!(
            "holds U+{:04X}, which is not seen or turns the text around: leave it out (joiners U+200C and U+200D may stand between letters)",
            u32::from(found)
        )
    })
}

/// The first character that is hidden where it stands.
fn hidden(text: &str) -> Option<char> {
    let characters: Vec<char> = text.chars().collect();
    let is_hidden = |(at, found): (usize, &char)| {
        let before = at.checked_sub(1).and_then(|before| characters.get(before)).copied();
        let senseless = match *found {
            ZWNJ | ZWJ => before.is_none_or(|before| before.is_whitespace() || is_joiner(before)),
            selector if is_selector(selector) => {
                !before.is_some_and(|before| selects(selector, before, characters.get(at + 1).copied()))
            }
            other => is_invisible(other),
        };
        senseless.then_some(*found)
    };
    characters.iter().enumerate().find_map(is_hidden)
}

fn is_joiner(character: char) -> bool {
    matches!(character, ZWNJ | ZWJ)
}

/// Whether nothing, or nothing certain, is shown for it: formats, directions, other ends of lines, fillers and blanks that count as
/// letters, and what no two systems show alike.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    use GeneralCategory as C;
    let category = matches!(
        character.general_category(),
        C::Format | C::LineSeparator | C::ParagraphSeparator | C::PrivateUse | C::Surrogate | C::Unassigned
    );
    // Default_Ignorable_Code_Point (DerivedCoreProperties.txt) that are marks or letters, and the blank Braille pattern.
    let blank = matches!(
        character,
        '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{ffa0}'
            | '\u{1d159}'
    );
    (category || blank) && !is_joiner(character)
}

/// Variation selectors: they say which form of the character before is meant.
fn is_selector(character: char) -> bool {
    matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}')
}

/// Whether there are such forms of the character before: symbols, keycaps, CJK and other letters without case, Mongolian.
fn selects(selector: char, before: char, after: Option<char>) -> bool {
    use GeneralCategory as C;
    let category = before.general_category();
    match selector {
        '\u{fe00}'..='\u{fe0f}' => match before {
            '0'..='9' | '#' | '*' => after == Some('\u{20e3}'),
            _ if before.is_ascii() => false,
            _ => matches!(
                category,
                C::OtherSymbol
                    | C::MathSymbol
                    | C::ModifierSymbol
                    | C::OtherPunctuation
                    | C::DashPunctuation
                    | C::OtherLetter
            ),
        },
        '\u{e0100}'..='\u{e01ef}' => category == C::OtherLetter,
        _ => matches!(before, '\u{1820}'..='\u{18aa}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_or_turns_text_around_is_refused_by_its_number() {
        let lone = [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2061}',
            '\u{2064}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{206a}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{fdd0}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffa}',
            '\u{fffb}',
            '\u{ffff}',
            '\u{378}',
            '\u{e0001}',
            '\u{e0020}',
            '\u{e007f}',
            '\u{f0000}',
            '\u{10ffff}',
            '\u{fe0f}',
            '\u{e0100}',
            '\u{180b}',
        ];
        for hidden in lone {
            let told = name_problem(&format!("An{hidden}n")).unwrap_or_else(|| panic!("{hidden:?} is taken"));
            assert!(told.contains(&format!("U+{:04X}", u32::from(hidden))), "{told}");
            assert_eq!(name_form_problem(&format!("An{hidden}n")), None, "old rows that have it stay sound");
        }
    }

    #[test]
    fn names_of_all_scripts_are_taken() {
        for name in [
            "Ann",
            "North & South (GB), no. 7",
            "Zoë",
            "Zoe\u{308}",
            "محمد",
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "അവന\u{d4d}\u{200d}",
            "山田 太郎",
            "山田\u{3000}太郎",
            "葛\u{e0100}城",
            "Љубица",
            "ויקטוריה",
            "O\u{2019}Neill",
            "👨\u{200d}👩\u{200d}👧",
            "I \u{2764}\u{fe0f} calls",
            "1\u{fe0f}\u{20e3} First",
            "ᠮᠣᠩᠭᠣᠯ\u{180b}",
            "\u{fffd}",
        ] {
            assert_eq!(name_problem(name), None, "{name}");
        }
    }

    #[test]
    fn joiners_join_something() {
        for name in ["\u{200d}", "\u{200c}Ann", "A \u{200d}b", "a\u{200d}\u{200d}b"] {
            assert!(name_problem(name).is_some_and(|told| told.contains("U+200")), "{name:?}");
        }
    }

    #[test]
    fn controls_length_and_ends_are_the_first_rule() {
        for name in ["", " a", "a ", "a\u{3000}", "a\tb", "a\u{85}b", "a\u{7f}", &"x".repeat(101)] {
            assert!(name_problem(name).is_some_and(|told| told.starts_with("use 1 to 100")), "{name:?}");
        }
        assert_eq!(name_problem(&"é".repeat(100)), None);
    }
}
