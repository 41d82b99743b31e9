//! The flags that say how the Pulsar cluster is reached, as `pulsar-admin sources localrun` has them.

use clap::{ArgAction, Args};
use connector_pulsar::ClientConfig;
use connector_sdk::Problem;
use secrecy::SecretString;

#[derive(Args)]
#[command(next_help_heading = "The Pulsar cluster")]
pub(super) struct BrokerFlags {
    /// pulsar://host:6650 or pulsar+ssl://host:6651, several hosts by commas
    #[arg(long, value_name = "URL", alias = "brokerServiceUrl", default_value = "pulsar://localhost:6650")]
    broker_service_url: String,
    /// Class name of an authentication plugin, as in Java clients
    #[arg(long, value_name = "CLASS", alias = "clientAuthPlugin")]
    client_auth_plugin: Option<String>,
    /// The plugin's parameters
    #[arg(long, value_name = "TEXT", alias = "clientAuthParams", value_parser = secret)]
    client_auth_params: Option<SecretString>,
    /// TLS although the address says pulsar://
    #[arg(long, value_name = "BOOL", aliases = ["useTls", "use_tls"], action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    use_tls: bool,
    /// Take any certificate
    #[arg(long, value_name = "BOOL", aliases = ["tlsAllowInsecure", "tlsAllowInsecureConnection", "tls_allow_insecure"], action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    tls_allow_insecure: bool,
    /// Whether the certificate must name the host
    #[arg(long, value_name = "BOOL", aliases = ["hostnameVerificationEnabled", "tlsHostNameVerificationEnabled", "hostname_verification_enabled"], action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    hostname_verification_enabled: bool,
    /// PEM file of the authorities to trust [default: the system's]
    #[arg(long, value_name = "FILE", aliases = ["tlsTrustCertPath", "tlsTrustCertFilePath", "tls_trust_cert_path"])]
    tls_trust_cert_path: Option<String>,
}

impl BrokerFlags {
    /// How the cluster is reached.
    ///
    /// # Errors
    /// Every problem that shows without network; the paths are flags.
    pub(super) fn client(&self) -> Result<ClientConfig, Vec<Problem>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let mut client = ClientConfig::new(self.broker_service_url.clone());
        client.auth_plugin = given(&self.client_auth_plugin);
        client.auth_params.clone_from(&self.client_auth_params);
        client.use_tls = self.use_tls;
        client.tls_allow_insecure_connection = self.tls_allow_insecure;
        client.tls_hostname_verification_enable = self.hostname_verification_enabled;
        client.tls_trust_certs_file_path = given(&self.tls_trust_cert_path);
        let problems = client.validate();
        if problems.is_empty() { Ok(client) } else { Err(problems.into_iter().map(by_flag).collect()) }
    }
}

/// The client names its settings; a person at the command line knows flags.
fn by_flag(mut problem: Problem) -> Problem {
    problem.path = match problem.path.as_str() {
        "brokerServiceUrl" => "--broker-service-url".to_owned(),
        "clientAuthPlugin" => "--client-auth-plugin".to_owned(),
        "clientAuthParams" => "--client-auth-params".to_owned(),
        "tlsTrustCertsFilePath" => "--tls-trust-cert-path".to_owned(),
        other => other.to_owned(),
    };
    problem
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}
