//! Which connector a configuration means: by `archive`, `sourceType` or `className`, which must agree.

use super::nearest::nearest;
use super::source_config::SourceConfig;
use connector_sdk::{Connector, Problem};
use std::sync::Arc;

const BUILT_IN: &str = "builtin://";

/// The connector, or every problem with its naming. Sentences on what is taken and not loaded go to `notes`.
pub(super) fn choose(
    config: &SourceConfig,
    connectors: &[Arc<dyn Connector>],
    notes: &mut Vec<String>,
) -> Result<Arc<dyn Connector>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut chosen: Option<(&str, Arc<dyn Connector>)> = None;
    let archive = given(&config.archive);
    let package = archive.filter(|archive| is_package(archive));
    let named = [
        ("archive", archive.filter(|_| package.is_none()).map(|name| by_name("archive", name, connectors))),
        ("sourceType", given(&config.source_type).map(|name| by_name("sourceType", name, connectors))),
        ("className", given(&config.class_name).map(|name| by_class(name, connectors))),
    ];
    for (key, found) in named {
        match (found, &chosen) {
            (None, _) => {}
            (Some(Err(problem)), _) => problems.push(problem),
            (Some(Ok(connector)), None) => chosen = Some((key, connector)),
            (Some(Ok(connector)), Some((first, other))) if connector.info().name != other.info().name => {
                let (one, two) = (connector.info().name, other.info().name);
                problems.push(
                    Problem::new(key, format!("means the connector `{one}`, but `{first}` means `{two}`")).hint("remove one of the two"),
                );
            }
            (Some(Ok(_)), Some(_)) => {}
        }
    }
    if let Some(package) = package {
        match &chosen {
            Some((_, connector)) => notes.push(format!(
                "`archive` is not loaded: Java packages mean nothing here, the connector `{}` is part of this program",
                connector.info().name
            )),
            None if problems.is_empty() => problems.push(
                Problem::new("archive", format!("`{package}` is a Java package, which cannot be loaded here"))
                    .hint(format!("write one of {}", names(connectors))),
            ),
            None => {}
        }
    }
    match chosen {
        Some((_, connector)) if problems.is_empty() => Ok(connector),
        None if problems.is_empty() => Err(vec![
            Problem::new("archive", "no connector is named")
                .hint(format!("write one of {}; or set `sourceType` or `className`", names(connectors))),
        ]),
        _ => Err(problems),
    }
}

fn by_name(path: &str, name: &str, connectors: &[Arc<dyn Connector>]) -> Result<Arc<dyn Connector>, Problem> {
    let short = name.strip_prefix(BUILT_IN).unwrap_or(name);
    let found = connectors.iter().find(|connector| connector.info().name == short);
    found.map(Arc::clone).ok_or_else(|| {
        let problem = Problem::new(path, format!("there is no connector `{short}`"));
        match nearest(short, connectors.iter().map(|connector| connector.info().name)) {
            Some(meant) => problem.hint(format!("did you mean `{BUILT_IN}{meant}`?")),
            None => problem.hint(format!("there is {}", names(connectors))),
        }
    })
}

fn by_class(class: &str, connectors: &[Arc<dyn Connector>]) -> Result<Arc<dyn Connector>, Problem> {
    let found = connectors.iter().find(|connector| connector.info().class_names.contains(&class));
    found.map(Arc::clone).ok_or_else(|| {
        let classes: Vec<&str> = connectors.iter().flat_map(|connector| connector.info().class_names).copied().collect();
        let problem = Problem::new("className", format!("there is no connector for the class `{class}`"));
        match nearest(class, classes.iter().copied()) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`? classes of one's own cannot be loaded")),
            None => {
                let known = classes.iter().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ");
                problem.hint(format!("the classes are {known}; others cannot be loaded"))
            }
        }
    })
}

/// Whether an archive is a file or an address rather than a connector's name.
fn is_package(archive: &str) -> bool {
    !archive.starts_with(BUILT_IN) && (archive.contains('/') || archive.ends_with(".nar") || archive.ends_with(".jar"))
}

fn names(connectors: &[Arc<dyn Connector>]) -> String {
    connectors.iter().map(|connector| format!("`{BUILT_IN}{}`", connector.info().name)).collect::<Vec<_>>().join(", ")
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}
