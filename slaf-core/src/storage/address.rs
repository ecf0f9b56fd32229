//! Addresses of datasets, and the settings that the environment adds to them.

use std::collections::HashMap;
use std::fmt::Write as _;

pub(super) const SCHEMES: [&str; 7] = ["file", "memory", "s3", "gs", "az", "abfss", "hf"];

/// An address in Lance's form. A local path stays as it is. Lance's usual
/// memory store loses its content with the last handle; the named one, used
/// here, lasts as long as the process.
pub(super) fn quoted(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let scheme = if scheme == "memory" {
        "shared-memory"
    } else {
        scheme
    };
    let parts: Vec<_> = rest.split('/').map(quoted_part).collect();
    format!("{scheme}://{}", parts.join("/"))
}

/// An absolute local path; `~` is the user's home.
pub(super) fn absolute(uri: &str) -> String {
    if uri.contains("://") {
        return uri.to_owned();
    }
    let path = match uri.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => match std::env::home_dir() {
            Some(home) => home.join(rest.trim_start_matches('/')),
            None => uri.into(),
        },
        _ => uri.into(),
    };
    let whole = std::path::absolute(&path).unwrap_or(path);
    whole.to_string_lossy().into_owned()
}

/// Quotes a part of an address: a key of an object store can contain characters
/// with a meaning in addresses, such as `?`, `#` and `%`.
pub(super) fn quoted_part(part: &str) -> String {
    let mut quoted = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@=+:/".contains(&byte) {
            quoted.push(byte as char);
        } else {
            let _ = write!(quoted, "%{byte:02X}");
        }
    }
    quoted
}

/// Whether an address points to a server.
pub(super) fn is_remote(address: &str) -> bool {
    address
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme != "shared-memory" && scheme != "file")
}

/// Adds default options, and options from environment variables that the
/// storage clients do not read themselves.
pub(super) fn with_defaults(
    scheme: Option<&str>,
    mut options: HashMap<String, String>,
) -> HashMap<String, String> {
    if scheme.is_none_or(|s| s == "file" || s == "memory") {
        return options;
    }
    let mut default = |key: &str, value: &str| {
        options
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    };
    default("client_max_retries", "4");
    default("client_retry_timeout", "60");
    if scheme == Some("s3") {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let given = [
            "aws_endpoint",
            "endpoint",
            "aws_endpoint_url",
            "endpoint_url",
        ]
        .iter()
        .find_map(|key| options.get(*key).cloned());
        let endpoint = given
            .or_else(|| set("AWS_ENDPOINT_URL_S3"))
            .or_else(|| set("AWS_ENDPOINT_URL"))
            .or_else(|| set("AWS_ENDPOINT"));
        if let Some(endpoint) = endpoint {
            let plain = endpoint.starts_with("http://");
            options.insert("aws_endpoint".to_owned(), endpoint);
            if plain {
                options.insert("allow_http".to_owned(), "true".to_owned());
            }
            let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
            if !options.contains_key("aws_region") && !options.contains_key("region") {
                let region = region.unwrap_or_else(|| "us-east-1".to_owned());
                options.insert("aws_region".to_owned(), region);
            }
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_hold_what_an_address_uses() {
        assert_eq!(
            quoted("s3://bucket/a b/100%?#ß.slaf"),
            "s3://bucket/a%20b/100%25%3F%23%C3%9F.slaf"
        );
        assert_eq!(quoted("memory://x/y.slaf"), "shared-memory://x/y.slaf");
        assert_eq!(quoted("some where/x.slaf"), "some where/x.slaf");
    }

    #[test]
    fn an_endpoint_without_tls_is_allowed_and_needs_no_region() {
        let given = HashMap::from([(
            "aws_endpoint".to_owned(),
            "http://localhost:9000".to_owned(),
        )]);
        let options = with_defaults(Some("s3"), given);
        assert_eq!(options["allow_http"], "true");
        assert!(options.contains_key("aws_region"));
        assert!(with_defaults(None, HashMap::new()).is_empty());
    }
}
