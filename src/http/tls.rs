//! TLS as a web configuration says: the server's certificate, and what certificates clients have to show.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use super::expiry;
use super::web_files::WebFiles;
use crate::settings::{ClientAuth, ConfigError, Pem, Tls, TlsVersion};

/// The server's side of a handshake.
pub(super) struct Server {
    pub config: ServerConfig,
    /// Until when its certificate, and those that it is signed by as far as they are shown, are valid.
    pub expiry: Option<SystemTime>,
}

/// As the web configuration says, or what is wrong with a certificate or a key.
pub(super) fn server(tls: &Tls, files: &WebFiles) -> Result<Server, ConfigError> {
    let certificates = certificates("cert_file", &tls.certificate, files)?;
    let expiry = expiry::earliest(&certificates);
    let key = PrivateKeyDer::from_pem_slice(files.pem("key_file", &tls.key)?)
        .map_err(|error| wrong("key_file", &tls.key, &error.to_string(), "write one PEM private key, not encrypted"))?;
    let provider = Arc::new(provider(tls));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls))
        .map_err(|error| wrong("cipher_suites", &tls.certificate, &error.to_string(), "name more of them"))?;
    let builder = match tls.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(Arc::new(Verifier::new(tls, files, provider)?)),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
        let remedy = "name the certificate and the very key that it was made for";
        wrong("cert_file", &tls.certificate, &error.to_string(), remedy)
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Server { config, expiry })
}

fn wrong(key: &str, pem: &Pem, what: &str, remedy: &str) -> ConfigError {
    let place = match pem {
        Pem::File(path) => format!("{key} {}", path.display()),
        Pem::Inline(_) => key.trim_end_matches("_file").to_owned(),
    };
    ConfigError::remark(format!("{place}: {what}"), remedy)
}

fn certificates(key: &str, pem: &Pem, files: &WebFiles) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let remedy = "write PEM certificates, the one in question first";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(files.pem(key, pem)?).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(key, pem, "there is no certificate in it", remedy)),
        read => read.map_err(|error| wrong(key, pem, &error.to_string(), remedy)),
    }
}

fn versions(tls: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    let wanted = tls.min_version..=tls.max_version;
    let has_suites = |version| version == TlsVersion::Tls13 || !suites(tls).is_empty();
    let wanted = all.into_iter().filter(|(version, _)| wanted.contains(version) && has_suites(*version));
    wanted.map(|(_, version)| version).collect()
}

/// Those of TLS 1.2 that are offered, in order of preference.
fn suites(tls: &Tls) -> Vec<rustls::SupportedCipherSuite> {
    let offered = aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_none()).copied();
    let Some(names) = &tls.cipher_suites else { return offered.collect() };
    let named = |name: &&str| offered.clone().find(|suite| suite.suite().as_str() == Some(name));
    names.iter().filter_map(named).collect()
}

fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider.cipher_suites.extend(suites(tls));
    if let Some(curves) = &tls.curve_preferences {
        let named = |name: &&str| match *name {
            "X25519" => aws_lc_rs::kx_group::X25519,
            "CurveP256" => aws_lc_rs::kx_group::SECP256R1,
            _ => aws_lc_rs::kx_group::SECP384R1,
        };
        provider.kx_groups = curves.iter().map(named).collect();
    }
    provider
}

/// Judges a client's certificate. That the client has its key is checked in every case.
#[derive(Debug)]
struct Verifier {
    mandatory: bool,
    /// Whether a CA that is trusted has signed it; `None`: whoever did.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    allowed_sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(tls: &Tls, files: &WebFiles, provider: Arc<CryptoProvider>) -> Result<Self, ConfigError> {
        let algorithms = provider.signature_verification_algorithms;
        let verified = matches!(tls.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
        let chain = match &tls.client_ca {
            Some(pem) if verified => {
                let refused = |what: String| wrong("client_ca_file", pem, &what, "write the CA's certificate as PEM");
                let mut roots = RootCertStore::empty();
                for certificate in certificates("client_ca_file", pem, files)? {
                    roots.add(certificate).map_err(|error| refused(error.to_string()))?;
                }
                let chain = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                Some(chain.map_err(|error| refused(error.to_string()))?)
            }
            _ => None,
        };
        let mandatory = matches!(tls.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        Ok(Self { mandatory, chain, allowed_sans: tls.client_allowed_sans.clone(), algorithms })
    }

    /// Whether one of the certificate's names is allowed, letter by letter.
    fn allows(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        if self.allowed_sans.is_empty() {
            return Ok(true);
        }
        let certificate = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| Error::General(format!("the client's certificate cannot be read: {error}")))?;
        let is_address_of = |allowed: &str| {
            let address = allowed.parse::<IpAddr>().map(|address| ServerName::IpAddress(address.into()));
            address.is_ok_and(|address| certificate.verify_is_valid_for_subject_name(&address).is_ok())
        };
        Ok(self.allowed_sans.iter().any(|allowed| {
            certificate.valid_dns_names().any(|name| name == allowed)
                || certificate.valid_uri_names().any(|name| name == allowed)
                || is_address_of(allowed)
        }))
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        if !self.allows(end_entity)? {
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
