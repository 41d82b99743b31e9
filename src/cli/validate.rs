//! `pulsar-connect validate FILE`: no network, every problem at once.

use crate::config::{self, SecretsProvider, Surroundings};
use crate::registry;
use clap::Args;
use connector_sdk::Problem;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Arguments {
    /// A source's configuration, JSON or YAML
    file: PathBuf,
    /// The findings as JSON
    #[arg(long)]
    json: bool,
    /// Class name of the secrets provider the source will run with
    #[arg(long, value_name = "CLASS", alias = "secretsProviderClassName")]
    secrets_provider_classname: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let checked = check(arguments);
    let code = if checked.is_ok() { 0 } else { super::WRONG_CONFIGURATION };
    if arguments.json {
        let none = Vec::new();
        let (problems, notes, promise) = match &checked {
            Ok(spec) => (&none, spec.notes.as_slice(), spec.promise()),
            Err(problems) => (problems, [].as_slice(), Vec::new()),
        };
        let found = json!({ "valid": checked.is_ok(), "problems": problems, "promise": promise, "notes": notes });
        let printed = super::print(&format!("{found:#}\n"));
        return code.max(printed);
    }
    let file = arguments.file.display();
    match checked {
        Ok(spec) => {
            let mut text = format!("{file}: valid; `{}` would publish to {}\n", spec.connector.name, spec.topic);
            for sentence in spec.promise() {
                text.push_str(&format!("  {sentence}\n"));
            }
            for note in &spec.notes {
                text.push_str(&format!("  note: {note}\n"));
            }
            super::print(&text)
        }
        Err(problems) => super::complain(&config::report(&file.to_string(), &problems), code),
    }
}

fn check(arguments: &Arguments) -> Result<config::InstanceSpec, Vec<Problem>> {
    let class = arguments.secrets_provider_classname.as_deref().unwrap_or_default();
    let provider = SecretsProvider::named("--secrets-provider-classname", class).map_err(|problem| vec![problem]);
    let document = config::read(&arguments.file).map_err(|problem| vec![problem])?;
    let connectors = registry::connectors();
    let surroundings =
        Surroundings { connectors: &connectors, secrets: provider.clone().unwrap_or_default(), environment: &super::environment };
    match (config::resolve(document, surroundings), provider) {
        (Ok(spec), Ok(_)) => Ok(spec),
        (Ok(_), Err(problems)) => Err(problems),
        (Err(mut problems), provider) => {
            problems.extend(provider.err().unwrap_or_default());
            Err(problems)
        }
    }
}
