//! One request and its answer, within a time and a length.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use super::Trust;
use super::error::Error;

/// How often an answer may be "elsewhere".
const MAX_REDIRECTS: usize = 5;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The longest answer that is read.
    pub(super) max: usize,
    /// What it is for, in words.
    pub(super) what: String,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Who answered.
    pub(super) uri: Uri,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where it leads, for a client that asked there.
    pub(super) fn location(&self) -> Option<Uri> {
        resolved(&self.uri, self.headers.get(LOCATION)?.to_str().ok()?)
    }
}

pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    registry: String,
}

impl Http {
    pub(super) fn new(registry: &str, trust: &Trust, timeout: Duration) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::SetUp(error.to_string()))?
            .with_root_certificates(trust.roots()?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            timeout,
            registry: registry.into(),
        })
    }

    /// Asks, and follows where the answer leads. Who asks is told to the first server alone.
    pub(super) async fn ask(&self, mut ask: Ask) -> Result<Answer, Error> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.once(&ask).await?;
            let leads = ask.method == Method::GET || ask.method == Method::HEAD;
            if !leads || !answer.status.is_redirection() {
                return Ok(answer);
            }
            let Some(next) = answer.location() else {
                return Ok(answer);
            };
            self.refuse_downgrade(&ask.uri, &next)?;
            if !is_same_server(&ask.uri, &next) {
                ask.headers.remove(AUTHORIZATION);
            }
            ask.uri = next;
        }
        let reason = format!("it leads to other places more than {MAX_REDIRECTS} times");
        Err(Error::Malformed(self.registry.clone(), reason))
    }

    /// Nobody is sent from a place with TLS to one without.
    pub(super) fn refuse_downgrade(&self, from: &Uri, to: &Uri) -> Result<(), Error> {
        if from.scheme() == Some(&Scheme::HTTPS) && to.scheme() != Some(&Scheme::HTTPS) {
            return Err(Error::Downgrade(self.registry.clone(), to.to_string()));
        }
        Ok(())
    }

    async fn once(&self, ask: &Ask) -> Result<Answer, Error> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(ask)).await;
        answer.unwrap_or_else(|_| Err(Error::Slow(self.registry.clone(), self.timeout)))
    }

    async fn exchange(&self, ask: &Ask) -> Result<Answer, Error> {
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        *request.headers_mut() = ask.headers.clone();
        let response = self.client.request(request).await;
        let response =
            response.map_err(|error| Error::transport(&self.registry, Box::new(error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ask.max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Error::TooMuch(self.registry.clone(), ask.max, ask.what.clone())
            } else {
                Error::transport(&self.registry, error)
            }
        })?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
            uri: ask.uri.clone(),
        })
    }
}

/// Whether both are the same server, so that one may know what the other does.
pub(super) fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let authority = |uri: &Uri| uri.authority().map(Authority::as_str).map(str::to_owned);
    one.scheme() == other.scheme() && authority(one) == authority(other)
}

/// Where a `Location` leads from a place; none where that is no place for HTTP.
pub(super) fn resolved(from: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.parse().ok();
    }
    let rest = location.strip_prefix('/')?;
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    // `//host/path` names another server, by the scheme of this one.
    match rest.strip_prefix('/') {
        Some(elsewhere) => format!("{scheme}://{elsewhere}").parse().ok(),
        None => format!("{scheme}://{authority}/{rest}").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_somewhere_from_where_it_was_found() {
        let from: Uri = "https://registry.example.com/v2/x/blobs/uploads/"
            .parse()
            .unwrap();
        for (location, leads) in [
            (
                "/v2/x?_state=y",
                Some("https://registry.example.com/v2/x?_state=y"),
            ),
            ("//other.example.com/z", Some("https://other.example.com/z")),
            (
                "http://other.example.com/z",
                Some("http://other.example.com/z"),
            ),
            ("ftp://other.example.com/z", None),
            ("z", None),
            ("", None),
        ] {
            let leads = leads.map(|uri| uri.parse::<Uri>().unwrap());
            assert_eq!(resolved(&from, location), leads, "{location}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_server() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let one = uri("https://registry.example.com/a");
        assert!(is_same_server(&one, &uri("https://registry.example.com/b")));
        for other in [
            "http://registry.example.com/a",
            "https://registry.example.com:8443/a",
            "https://example.com/a",
        ] {
            assert!(!is_same_server(&one, &uri(other)), "{other}");
        }
    }
}
