//! PURE: which passwords are allowed. Length instead of composition (NIST SP 800-63B): what is refused is what guessing tries first.

use std::ops::RangeInclusive;

/// Characters of a password.
pub const LENGTH: RangeInclusive<usize> = 15..=128;
/// Characters that must be left when words and rows that everybody uses are taken out.
const OWN_AT_LEAST: usize = 6;
/// Different characters.
const DIFFERENT_AT_LEAST: usize = 6;
/// A name shorter than this occurs by chance.
const NAME_AT_LEAST: usize = 4;

/// Rows that hands and heads follow; backwards, too.
const ROWS: &[&str] = &[
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
];

/// Words that lists of leaked passwords are made of, longest forms first where one holds another.
const WORDS: &[&str] = &[
    "administrator",
    "internet",
    "passphrase",
    "passwords",
    "password",
    "passwort",
    "motdepasse",
    "contrasena",
    "parola",
    "passw",
    "pass",
    "capconduit",
    "asterisk",
    "callcenter",
    "callcentre",
    "manager",
    "master",
    "monkey",
    "dragon",
    "welcome",
    "letmein",
    "changeme",
    "change",
    "default",
    "temporary",
    "secret",
    "private",
    "secure",
    "security",
    "access",
    "login",
    "iloveyou",
    "loveyou",
    "love",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "basketball",
    "liverpool",
    "chelsea",
    "arsenal",
    "superman",
    "batman",
    "spiderman",
    "pokemon",
    "starwars",
    "trustno1",
    "whatever",
    "computer",
    "michael",
    "jordan",
    "charlie",
    "shadow",
    "hello",
    "freedom",
    "samsung",
    "google",
    "facebook",
    "linkedin",
    "apple",
    "company",
    "system",
    "server",
    "office",
    "admin",
    "root",
    "user",
    "test",
    "guest",
    "demo",
    "support",
    "seller",
    "staff",
    "qwerty",
    "azerty",
    "summer",
    "winter",
    "spring",
    "autumn",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "friday",
    "sunday",
    "1234",
    "please",
    "forever",
    "the",
    "my",
];

/// Long ones that are common as a whole.
const PHRASES: &[&str] = &[
    "correcthorsebatterystaple",
    "thequickbrownfox",
    "quickbrownfoxjumps",
    "maytheforcebewithyou",
    "tobeornottobe",
    "neverletmego",
    "fuckyoufuckyou",
    "onetwothreefour",
    "openthedoor",
    "opensesame",
    "donttellanyone",
    "idontknow",
    "jesuschrist",
    "jesusislord",
    "godisgood",
    "manchesterunited",
    "realmadrid",
    "leavemealone",
    "nothingelsematters",
    "harrypotter",
    "lordoftherings",
    "winteriscoming",
    "iamthebest",
    "ilovemyfamily",
    "mynameis",
    "unbelievable",
    "supercalifragilistic",
    "loremipsum",
    "areallylongpassword",
    "thisisapassword",
    "thisismypassword",
];

/// Whether `password` is allowed for `username`.
///
/// # Errors
/// What is wrong and what is allowed, without a word of the password.
pub fn check(password: &str, username: &str) -> Result<(), &'static str> {
    if !LENGTH.contains(&password.chars().count()) {
        return Err("use 15 to 128 characters");
    }
    let plain = plain(password);
    let name = self::plain(username);
    if name.chars().count() >= NAME_AT_LEAST && plain.contains(&name) {
        return Err("leave the username out of the password");
    }
    let mut different: Vec<char> = plain.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < DIFFERENT_AT_LEAST || repeats(&plain) {
        return Err("it repeats itself: use something less regular, such as four or five unrelated words");
    }
    if own(&plain) < OWN_AT_LEAST {
        return Err(
            "it is made of what everybody uses and guesses: use something of your own, such as four or five unrelated words",
        );
    }
    Ok(())
}

/// Lower case, with the usual disguises (`p@ssw0rd`) undone and blanks and marks left out.
fn plain(password: &str) -> String {
    let undisguised = |c: char| match c {
        '@' => Some('a'),
        '$' => Some('s'),
        '!' => Some('i'),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    };
    password.to_lowercase().chars().filter_map(undisguised).collect()
}

/// Whether it is one piece of at most half its length, over and over.
fn repeats(plain: &str) -> bool {
    let letters: Vec<char> = plain.chars().collect();
    (1..=letters.len() / 2).any(|piece| letters.iter().zip(&letters[piece..]).all(|(a, b)| a == b))
}

/// How many characters are left without common phrases, words and rows.
fn own(plain: &str) -> usize {
    let undisguised: String = plain
        .chars()
        .map(|c| match c {
            '0' => 'o',
            '1' => 'i',
            '3' => 'e',
            '4' => 'a',
            '5' => 's',
            '7' => 't',
            c => c,
        })
        .collect();
    left(plain).min(left(&undisguised))
}

/// Walks along `text` and counts the characters that no common piece covers; digits count for nothing on their own.
fn left(text: &str) -> usize {
    let (mut rest, mut count) = (text, 0);
    while let Some(first) = rest.chars().next() {
        let taken = common_piece(rest).unwrap_or_else(|| {
            count += usize::from(!first.is_ascii_digit());
            first.len_utf8()
        });
        rest = &rest[taken..];
    }
    count
}

/// Bytes of the longest common piece that `text` begins with.
fn common_piece(text: &str) -> Option<usize> {
    let listed = PHRASES.iter().chain(WORDS).filter(|word| text.starts_with(**word)).map(|word| word.len());
    listed.chain(row(text)).max()
}

/// Bytes of the run along one of [`ROWS`], four or more, that `text` begins with; also of one character over and over.
fn row(text: &str) -> Option<usize> {
    let ascii: Vec<u8> = text.bytes().take_while(u8::is_ascii).collect();
    let along = |row: &[u8]| {
        let starts = (0..row.len()).map(|start| row[start..].iter().zip(&ascii).take_while(|(a, b)| a == b).count());
        starts.max().unwrap_or(0)
    };
    let forth = ROWS.iter().map(|row| along(row.as_bytes()));
    let back = ROWS.iter().map(|row| along(&row.bytes().rev().collect::<Vec<_>>()));
    let same = ascii.iter().take_while(|byte| Some(*byte) == ascii.first()).count();
    forth.chain(back).chain([same]).max().filter(|length| *length >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_characters() {
        assert!(check("blau grün weißä", "x").is_ok(), "15 characters, 18 bytes");
        for bad in ["", "fourteen chars", &"ab12cd".repeat(30)] {
            assert!(check(bad, "x").unwrap_err().contains("15 to 128"), "{bad}");
        }
    }

    #[test]
    fn what_guessing_tries_first_is_refused() {
        for bad in [
            "passwordpassword",
            "P@ssw0rdP@ssw0rd1",
            "123456789012345",
            "1234567890qwerty",
            "qwertyuiopasdfghjkl",
            "1qaz2wsx3edc4rfv",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "zyxwvutsrqponmlk",
            "Welcome2026!Welcome",
            "administrator2026!",
            "AdminAdmin1234567",
            "correct horse battery staple",
            "thisismypassword1",
            "Summer2026Summer!!",
            "iloveyou1234567890",
            "CapConduit-Admin-2026",
        ] {
            assert!(check(bad, "somebody").is_err(), "{bad}");
        }
    }

    #[test]
    fn the_username_is_refused_in_any_case_and_disguise() {
        for bad in ["Ginger-likes-tall-trees", "tall trees g i n g e r", "we are G!nger's kitchen tables"] {
            assert!(check(bad, "ginger").unwrap_err().contains("username"), "{bad}");
        }
        assert!(check("al dente noodle fork", "al").is_ok(), "too short a name to mean anything");
    }

    #[test]
    fn own_ones_are_allowed() {
        for good in [
            "violet tractor hums low",
            "k7#mQ2vXw9!pLr4zT",
            "mein-Fahrrad-hat-3-Gänge",
            "8fj29dk3ls0qpw7zmx1c",
            "пять зелёных слонов",
        ] {
            assert_eq!(check(good, "ginger"), Ok(()), "{good}");
        }
    }
}
