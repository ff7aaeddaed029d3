//! PURE: what a node must have for our dialplan and this controller to work, read from the files that say so: `extensions.conf`, for the
//! functions and applications that it uses, and `modules.conf`, for the modules that are loaded and what each brings.

use std::collections::BTreeSet;

/// The dialplan as delivered.
pub const DIALPLAN: &str = include_str!("../asterisk/etc/extensions.conf");
/// The modules as delivered.
pub const MODULES: &str = include_str!("../asterisk/etc/modules.conf");
/// These, and what else our dialplan may use beside a site's.
pub const MODULES_BESIDE: &str =
    concat!(include_str!("../asterisk/etc/modules.conf"), include_str!("../asterisk/beside/modules.conf"));

/// How a comment of `modules.conf` begins that names applications without a module.
const BUILT_IN: &str = "; Built in:";
/// How the comment behind a module begins that calls can do without.
const OPTIONAL: &str = "optional";

/// A module, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Such as `func_rand.so`.
    pub(crate) name: String,
    /// The comment behind it.
    pub(crate) comment: String,
}

impl Module {
    pub(crate) fn is_optional(&self) -> bool {
        self.comment.starts_with(OPTIONAL)
    }

    /// Whether the comment says that it brings this: `RAND()`, or an application's name.
    fn brings(&self, word: &str) -> bool {
        let mut words = self.comment.split([' ', ',', ';', ':', '.']);
        let named = |said: &str| said.starts_with(|c: char| c.is_ascii_uppercase()) && said.eq_ignore_ascii_case(word);
        words.any(|said| if word.ends_with("()") { said == word } else { named(said) })
    }
}

/// What a dialplan and the controller need of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    modules: Vec<Module>,
    built_in: Vec<String>,
    /// `RAND()` is a function, `Dial` an application.
    uses: BTreeSet<String>,
}

/// Something that a node has not got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Such as `module func_rand.so`.
    pub what: String,
    /// What needs it, or what is said of it; may be empty.
    pub why: String,
    /// Whether calls can do without it.
    pub optional: bool,
    /// Whether the dialplan itself cannot do its work: calls do not get through it, or not as they should.
    pub in_dialplan: bool,
}

impl Needs {
    /// Of the texts of an `extensions.conf` and of a `modules.conf`.
    #[must_use]
    pub fn of(dialplan: &str, modules: &str) -> Self {
        let built_in = modules.lines().filter_map(|line| line.strip_prefix(BUILT_IN));
        let built_in = built_in.flat_map(|words| words.split_whitespace().map(str::to_owned)).collect();
        let uses = dialplan.lines().flat_map(|line| used(uncommented(line))).collect();
        Self { modules: self::modules(modules).collect(), built_in, uses }
    }

    /// Functions that no module of these is said to bring and none that runs is named after: whether they are there shows only when one is
    /// read. Without their brackets.
    #[must_use]
    pub fn unknown_functions(&self, running: &BTreeSet<String>) -> Vec<&str> {
        let functions = self.uses.iter().filter_map(|word| word.strip_suffix("()"));
        functions
            .filter(|name| self.bringer(&format!("{name}()")).is_none() && !is_named_after(name, running))
            .collect()
    }

    /// What a node lacks on which these modules run; `unreadable`: of [`Self::unknown_functions`], those that could not be read.
    #[must_use]
    pub fn lacks(&self, running: &BTreeSet<String>, unreadable: &[String]) -> Vec<Lack> {
        let mut lacks: Vec<Lack> = Vec::new();
        for module in self.modules.iter().filter(|module| !running.contains(&module.name)) {
            let used: Vec<&str> = self.uses.iter().filter(|word| module.brings(word)).map(String::as_str).collect();
            let why = match used.as_slice() {
                [] => module.comment.clone(),
                used => format!("extensions.conf uses {} of it", used.join(", ")),
            };
            let in_dialplan = !used.is_empty();
            lacks.push(Lack {
                what: format!("module {}", module.name),
                why,
                optional: module.is_optional(),
                in_dialplan,
            });
        }
        let applications = self.uses.iter().filter(|word| !word.ends_with("()"));
        let applications = applications.filter(|name| {
            let built_in = self.built_in.iter().any(|known| known.eq_ignore_ascii_case(name));
            !built_in && self.bringer(name).is_none() && !is_named_after(name, running)
        });
        let functions = unreadable.iter().filter(|name| self.uses.contains(&format!("{name}()")));
        let named = applications.map(|name| format!("application {name}"));
        for what in named.chain(functions.map(|name| format!("function {name}()"))) {
            let why = "extensions.conf uses it, and no module that runs brings it".to_owned();
            lacks.push(Lack { what, why, optional: false, in_dialplan: true });
        }
        lacks
    }

    fn bringer(&self, word: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.brings(word))
    }
}

/// The modules of a `modules.conf`, in its order.
pub(crate) fn modules(text: &str) -> impl Iterator<Item = Module> {
    text.lines().filter_map(module)
}

/// `load = func_rand.so ; what is said of it`
fn module(line: &str) -> Option<Module> {
    let (setting, comment) = line.split_once(';').unwrap_or((line, ""));
    let (verb, name) = setting.split_once('=')?;
    let name = name.trim_start_matches('>').trim();
    let loads = ["load", "preload", "require", "preload-require"].contains(&verb.trim());
    (loads && name.ends_with(".so")).then(|| Module { name: name.to_owned(), comment: comment.trim().to_owned() })
}

/// Asterisk's modules are named after what they bring, where that is one thing.
fn is_named_after(name: &str, running: &BTreeSet<String>) -> bool {
    let name = name.to_ascii_lowercase();
    let stem = |module: &str| {
        let (kind, rest) = module.split_once('_')?;
        let stem = rest.strip_suffix(".so")?;
        // `ExecIf` is of app_exec.
        let fits = stem == name || (stem.len() >= 4 && name.starts_with(stem));
        Some(["func", "app", "res", "pbx"].contains(&kind) && fits)
    };
    running.iter().any(|module| stem(module).unwrap_or_default())
}

/// A line up to its comment; a `;` behind a backslash is none.
fn uncommented(line: &str) -> &str {
    let mut escaped = false;
    let comment = line.char_indices().find(|(_, c)| {
        let begins = *c == ';' && !escaped;
        escaped = *c == '\\' && !escaped;
        begins
    });
    comment.map_or(line, |(at, _)| &line[..at])
}

/// The application of a line of the dialplan, and every function in it.
fn used(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (verb, rest) = line.split_once('=').unwrap_or((line, ""));
    let rest = rest.trim_start_matches('>').trim();
    let application = match verb.trim() {
        "exten" => rest.splitn(3, ',').nth(2),
        "same" => rest.split_once(',').map(|(_, application)| application),
        _ => None,
    };
    if let Some(application) = application {
        applications(application.trim(), &mut found);
    }
    for (at, _) in line.match_indices("${") {
        found.extend(function(&line[at + 2..]));
    }
    found
}

/// An application with its arguments; those that `ExecIf` carries out as well, and the function that `Set` sets.
fn applications(text: &str, found: &mut Vec<String>) {
    let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return;
    }
    found.push(name.to_owned());
    if name.eq_ignore_ascii_case("Set") || name.eq_ignore_ascii_case("MSet") {
        found.extend(function(arguments.trim_start()));
    }
    if name.eq_ignore_ascii_case("ExecIf") {
        let (_, branches) = arguments.split_once('?').unwrap_or_default();
        branches.split(':').filter(|branch| branch.contains('(')).for_each(|branch| applications(branch.trim(), found));
    }
}

/// `NAME(` at the beginning.
fn function(text: &str) -> Option<String> {
    let (name, _) = text.split_once('(')?;
    let fits = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    fits.then(|| format!("{name}()"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(needs: &Needs) -> BTreeSet<String> {
        needs.modules.iter().map(|module| module.name.clone()).collect()
    }

    #[test]
    fn the_files_that_are_delivered_say_what_brings_each_function_and_application() {
        let needs = Needs::of(DIALPLAN, MODULES);
        for word in ["RAND()", "PJSIP_HEADER()", "FILE()", "MASTER_CHANNEL()", "TIMEOUT()", "Stasis", "GosubIf", "Dial"]
        {
            assert!(needs.uses.contains(word), "{word} is not seen in {:?}", needs.uses);
        }
        assert!(!needs.uses.iter().any(|word| word.contains("CAPCONDUIT")), "{:?}", needs.uses);
        let running = all_of(&needs);
        let unknown: Vec<_> =
            needs.uses.iter().filter(|word| needs.bringer(word).is_none() && !needs.built_in.contains(word)).collect();
        assert_eq!(unknown, Vec::<&String>::new(), "modules.conf says of none of its modules that it brings these");
        assert_eq!(needs.lacks(&running, &[]), []);
        assert!(needs.unknown_functions(&running).is_empty());
    }

    #[test]
    fn each_module_that_is_missing_is_told_with_what_needs_it() {
        let needs = Needs::of(DIALPLAN, MODULES);
        for (module, part, in_dialplan) in [
            ("func_rand.so", "RAND()", true),
            ("app_stack.so", "Gosub", true),
            ("func_talkdetect.so", "early media", false),
            ("chan_pjsip.so", "", false),
        ] {
            let mut running = all_of(&needs);
            assert!(running.remove(module), "{module}");
            let lacks = needs.lacks(&running, &[]);
            let [lack] = &lacks[..] else { panic!("{module}: {lacks:?}") };
            assert_eq!((lack.what.as_str(), lack.in_dialplan), (format!("module {module}").as_str(), in_dialplan));
            assert!(lack.why.contains(part) && !lack.optional, "{lack:?}");
        }
        let mut running = all_of(&needs);
        running.remove("res_websocket_client.so");
        assert!(needs.lacks(&running, &[])[0].optional);
    }

    /// The file is changed, and nothing else.
    #[test]
    fn what_is_added_to_the_dialplan_is_looked_for() {
        let copy = DIALPLAN.replace(
            "exten => s,1,Set(CAPCONDUIT_N=1)",
            "exten => s,1,Set(CAPCONDUIT_N=${ODBC_LOOKUP(${CALLERID(num)})}) ; not ${OF_A_COMMENT(x)}\n same => n,Set(DB(a/b)=1)\n \
             same => n,Playback(x)\n same => n,ExecIf($[1]?Festival(x):Goto(y))",
        );
        let needs = Needs::of(&copy, MODULES);
        let mut running = all_of(&needs);
        assert_eq!(needs.unknown_functions(&running), ["DB", "ODBC_LOOKUP"]);
        let told: Vec<_> =
            needs.lacks(&running, &["ODBC_LOOKUP".to_owned()]).into_iter().map(|lack| lack.what).collect();
        assert_eq!(
            told,
            ["application ExecIf", "application Festival", "application Playback", "function ODBC_LOOKUP()"]
        );
        // Modules bear the names of what they bring.
        running.extend(["app_exec.so", "app_playback.so", "app_festival.so", "func_db.so"].map(str::to_owned));
        assert_eq!(needs.unknown_functions(&running), ["ODBC_LOOKUP"]);
        assert_eq!(needs.lacks(&running, &[]), []);
    }
}
