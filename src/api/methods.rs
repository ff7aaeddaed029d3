//! Which methods a path knows: `Allow` on 405 (RFC 9110).

use std::sync::LazyLock;

use poem_openapi::OpenApi as _;

use super::Nouns;

/// Paths of the document, each as its segments, with their methods.
static KNOWN: LazyLock<Vec<(Vec<String>, Vec<String>)>> = LazyLock::new(|| {
    let paths = Nouns::meta().into_iter().flat_map(|api| api.paths);
    let split = |path: &str| path.split('/').map(str::to_owned).collect();
    paths
        .map(|path| {
            let methods = path.operations.iter().map(|operation| operation.method.to_string());
            (split(&path.path), methods.collect())
        })
        .collect()
});

/// The value of `Allow` for a path.
pub(super) fn of(path: &str) -> String {
    let path: Vec<_> = path.split('/').collect();
    let fits = |known: &[String]| {
        let same = |(known, given): (&String, &&str)| known == given || known.starts_with('{');
        known.len() == path.len() && known.iter().zip(&path).all(same)
    };
    // Where a fixed segment and a variable one both fit, routing takes the fixed one.
    let found = KNOWN.iter().filter(|(known, _)| fits(known)).collect::<Vec<_>>();
    let variables = |known: &[String]| known.iter().filter(|part| part.starts_with('{')).count();
    let fewest = found.iter().map(|(known, _)| variables(known)).min();
    let chosen = found.into_iter().filter(|(known, _)| Some(variables(known)) == fewest);
    let mut methods: Vec<&str> = chosen.flat_map(|(_, methods)| methods).map(String::as_str).collect();
    if methods.is_empty() {
        // What is outside the document, such as /docs, is only read.
        methods.push("GET");
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_path_names_its_methods() {
        for (path, methods) in [
            ("/api/v1/users", "GET, HEAD, POST"),
            ("/api/v1/users/7", "GET, HEAD, PATCH"),
            ("/api/v1/dids/bulk", "POST"),
            ("/api/v1/auth/login", "POST"),
            ("/docs", "GET, HEAD"),
        ] {
            assert_eq!(of(path), methods, "{path}");
        }
    }
}
