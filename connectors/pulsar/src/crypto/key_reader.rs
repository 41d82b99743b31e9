//! Where keys are: `file:` and `data:` URLs, as the Java client's default key reader takes them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// The only kind of `data:` URL that holds a key.
const DATA: &str = "data:application/x-pem-file;base64,";

/// A key's place: `file:///path`, `file:/path`, or the key itself as `data:application/x-pem-file;base64,...`. What it holds is
/// never printed: it may be the key.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyLocation(#[schemars(with = "String")] SecretString);

impl KeyLocation {
    /// The place that this URL says.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into().into())
    }

    pub(super) fn is_given(&self) -> bool {
        !self.0.expose_secret().trim().is_empty()
    }

    /// The PEM text.
    ///
    /// # Errors
    /// In words for people: a URL of another kind, a file that cannot be read.
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let url = self.0.expose_secret().trim();
        if let Some(text) = url.strip_prefix(DATA) {
            return BASE64_STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| "its `data:` URL is not Base64".to_owned());
        }
        if url.starts_with("data:") {
            return Err(format!("its `data:` URL does not begin with `{DATA}`"));
        }
        let Some(path) = url.strip_prefix("file:") else {
            return Err("only `file:` and `data:` URLs are read".to_owned());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        std::fs::read(Path::new(path)).map(Zeroizing::new).map_err(|error| format!("the file `{path}` cannot be read: {error}"))
    }
}

impl fmt::Debug for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.expose_secret();
        f.write_str(if url.starts_with("file:") { url } else { "(a key)" })
    }
}

impl PartialEq for KeyLocation {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for KeyLocation {}

impl Serialize for KeyLocation {
    /// Files by their URL; a key itself is left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let url = self.0.expose_secret();
        serializer.serialize_str(if url.starts_with("file:") { url } else { "" })
    }
}
