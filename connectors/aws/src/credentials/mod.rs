//! Where credentials come from: one plugin, one file, one line in [`PLUGINS`].
//!
//! A plugin answers to class names, checks its parameter without the network, and yields a [`CredentialSource`] that opens an SDK
//! provider. What a plugin opens refreshes by itself ([`refresh::Refreshing`]) unless its credentials cannot expire.

mod assume_role;
mod default_chain;
mod param;
mod refresh;
mod static_keys;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::region::Region;
use connector_sdk::Problem;
use secrecy::SecretString;

use crate::config::PLUGIN_NAME;
use crate::pool::HttpPool;

/// Every plugin of this build. A further provider is one file and one line here.
static PLUGINS: &[&dyn CredentialPlugin] =
    &[&static_keys::StaticKeysPlugin, &default_chain::DefaultChainPlugin, &assume_role::AssumeRolePlugin];

/// The Java packages whose class names are understood: today's, and the one that old configurations name.
const PACKAGES: [&str; 2] = ["org.apache.pulsar.io.aws.", "org.apache.pulsar.io.kinesis."];

/// A future that borrows; what a trait object's async function returns.
pub(crate) type Opening<'a> = Pin<Box<dyn Future<Output = SharedCredentialsProvider> + Send + 'a>>;

/// A kind of credentials that a configuration can name.
pub(crate) trait CredentialPlugin: Send + Sync {
    /// The class name without its package; empty for what a blank name means.
    fn class_name(&self) -> &'static str;

    /// One line for the list that an unknown name is answered with.
    fn summary(&self) -> &'static str;

    /// Checks the parameter; reports every problem at once and never repeats the parameter's values.
    fn validate(&self, param: Option<&SecretString>) -> Result<Box<dyn CredentialSource>, Vec<Problem>>;
}

/// A checked configuration that can open a provider.
pub(crate) trait CredentialSource: fmt::Debug + Send + Sync {
    /// What it is, for messages; no secrets.
    fn describe(&self) -> String;

    /// Makes the provider. Asks the network for nothing yet; the first use does.
    fn open<'a>(&'a self, surroundings: &'a Surroundings) -> Opening<'a>;
}

/// What a source needs from outside.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The connector's own region.
    pub(crate) region: Region,
    /// The connections of the context.
    pub(crate) pool: HttpPool,
}

/// The plugins a configuration can name: full class name (blank for static keys) and what it is.
pub fn plugins() -> impl Iterator<Item = (String, &'static str)> {
    PLUGINS.iter().map(|plugin| (full_name(plugin.class_name()), plugin.summary()))
}

/// The plugin that answers to `name` (trimmed; blank is static keys).
pub(crate) fn find(name: &str) -> Option<&'static dyn CredentialPlugin> {
    let class = match PACKAGES.iter().find_map(|package| name.strip_prefix(package)) {
        Some(class) if !class.is_empty() => class,
        Some(_) => return None,
        None if name.is_empty() => "",
        // A name without package is what people write by hand.
        None if !name.contains('.') => name,
        None => return None,
    };
    PLUGINS.iter().copied().find(|plugin| plugin.class_name() == class)
}

/// The problem that an unknown name is answered with: it lists what exists, the nearest first.
pub(crate) fn unknown(name: &str) -> Problem {
    let class = name.rsplit('.').next().unwrap_or(name);
    let nearest = PLUGINS
        .iter()
        .map(|plugin| plugin.class_name())
        .filter(|known| !known.is_empty() && strsim::jaro_winkler(class, known) > 0.85)
        .max_by(|a, b| strsim::jaro_winkler(class, a).total_cmp(&strsim::jaro_winkler(class, b)));
    let known: Vec<String> = plugins()
        .map(|(name, summary)| if name.is_empty() { format!("no name at all ({summary})") } else { format!("`{name}` ({summary})") })
        .collect();
    let known = known.join(", ");
    let hint = match nearest {
        Some(nearest) => format!("did you mean `{}`? there are: {known}", full_name(nearest)),
        None => format!("there are: {known}; classes of one's own cannot be loaded"),
    };
    Problem::new(PLUGIN_NAME, format!("there is no credential plugin `{name}`")).hint(hint)
}

fn full_name(class: &str) -> String {
    if class.is_empty() { String::new() } else { format!("{}{class}", PACKAGES[0]) }
}
