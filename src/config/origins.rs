//! Where a configuration comes from: for whoever keeps a copy of all of it.

use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use super::fault::Faults;
use super::layers::Sources;
use super::settings::Found;

/// The file of a configuration, the files that this names, and what comes from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// The configuration file, where there is one.
    pub file: Option<PathBuf>,
    /// Files that keys name (`…_file`: secrets, certificates), with the key.
    pub named: Vec<(String, PathBuf)>,
    /// Variables of the environment that settings come from. Their values may be secrets and are not here.
    pub variables: Vec<String>,
}

impl Origins {
    /// Of a configuration that was read.
    ///
    /// # Errors
    /// A file that is no TOML at all.
    pub fn of(sources: &Sources) -> Result<Self, Faults> {
        let mut variables: Vec<String> = sources.variables().map(str::to_owned).collect();
        variables.sort();
        // What is wrong with single values has been told by whoever loaded it.
        let tree = sources.tree(&mut Found::default())?;
        let mut named = Vec::new();
        collect("", &tree, &mut named);
        named.sort();
        Ok(Self { file: sources.file().map(Path::to_owned), named, variables })
    }
}

fn collect(path: &str, table: &Map<String, Value>, named: &mut Vec<(String, PathBuf)>) {
    for (key, value) in table {
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match &value.kind {
            ValueKind::String(file) if key.ends_with("_file") => named.push((key, PathBuf::from(file))),
            ValueKind::Table(inner) => collect(&key, inner, named),
            ValueKind::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    if let ValueKind::Table(inner) = &entry.kind {
                        collect(&format!("{key}[{index}]"), inner, named);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_keys_name_are_found_in_every_layer_and_values_of_variables_are_not_kept() {
        let text = "[auth]\nkey_file = \"/etc/key\"\n[[asterisk]]\nname = \"a\"\n[[asterisk]]\nca_file = \"ca.pem\"\n";
        let environment = [
            ("CAPCONDUIT__ASTERISK__0__PASSWORD_FILE", "/run/ari"),
            ("CAPCONDUIT__ASTERISK__1__PASSWORD", "hunter2"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let sources = Origins::of(&Sources::of(Some((Path::new("c.toml"), text)), environment)).expect("valid");
        let named = [
            ("asterisk[0].password_file", "/run/ari"),
            ("asterisk[1].ca_file", "ca.pem"),
            ("auth.key_file", "/etc/key"),
        ];
        assert_eq!(sources.named, named.map(|(key, path)| (key.to_owned(), PathBuf::from(path))));
        assert_eq!(sources.file, Some(PathBuf::from("c.toml")));
        assert_eq!(sources.variables, ["CAPCONDUIT__ASTERISK__0__PASSWORD_FILE", "CAPCONDUIT__ASTERISK__1__PASSWORD"]);
        assert!(!format!("{sources:?}").contains("hunter2"));
    }
}
