use std::path::{Path, PathBuf};

use async_nats::{Auth, AuthError};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use super::JetStreamConfig;
use crate::error::LogError;

/// A URL's user and password. The password stands for a token where there is no user.
#[derive(Debug, Clone)]
pub struct Password {
    pub user: Option<String>,
    pub secret: SecretString,
}

/// Takes user and password out of a URL, so that nothing that prints the URL prints them.
pub(super) fn take_password(url: &str) -> (String, Option<Password>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let Some((login, host)) = rest.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = match login.split_once(':') {
        Some((user, secret)) => Password {
            user: Some(decoded(user)),
            secret: decoded(secret).into(),
        },
        None => Password {
            user: None,
            secret: decoded(login).into(),
        },
    };
    (format!("{scheme}://{host}"), Some(password))
}

/// What a server is told about who connects.
#[derive(Clone)]
pub(super) enum Login {
    Nobody,
    Password(Password),
    /// A user's JWT, and the seed with which the server's challenge is signed.
    User {
        jwt: String,
        seed: SecretString,
    },
}

impl Login {
    /// From the configuration, and the credentials file as it is now.
    pub(super) async fn of(config: &JetStreamConfig) -> Result<Self, LogError> {
        if let Some(path) = &config.credentials {
            return read(path).await;
        }
        Ok(match &config.password {
            Some(password) => Self::Password(password.clone()),
            None => Self::Nobody,
        })
    }

    pub(super) fn answer(&self, challenge: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::Password(Password {
                user: Some(user),
                secret,
            }) => {
                auth.username = Some(user.clone());
                auth.password = Some(secret.expose_secret().to_owned());
            }
            Self::Password(Password { user: None, secret }) => {
                auth.token = Some(secret.expose_secret().to_owned());
            }
            Self::User { jwt, seed } => {
                let key = nkeys::KeyPair::from_seed(seed.expose_secret())
                    .map_err(|_| AuthError::new("the seed cannot be read"))?;
                let signature = key
                    .sign(challenge)
                    .map_err(|_| AuthError::new("the challenge cannot be signed"))?;
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(signature);
            }
        }
        Ok(auth)
    }
}

/// A credentials file: a JWT and a seed, each between two lines of dashes.
async fn read(path: &Path) -> Result<Login, LogError> {
    let unusable = |why: &str| {
        LogError::Unusable(format!(
            "credentials {}: {why}; name a readable file",
            path.display()
        ))
    };
    let owned = PathBuf::from(path);
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(owned))
        .await
        .map_err(|error| unusable(&error.to_string()))?
        .map_err(|error| unusable(&error.to_string()))?;
    let (jwt, seed) = blocks(&text).ok_or_else(|| unusable("it holds no JWT and seed"))?;
    if nkeys::KeyPair::from_seed(&seed).is_err() {
        return Err(unusable("its seed cannot be read"));
    }
    Ok(Login::User {
        jwt,
        seed: seed.into(),
    })
}

fn blocks(text: &str) -> Option<(String, String)> {
    let block = |name: &str| {
        text.lines()
            .map(str::trim)
            .skip_while(|line| !(line.starts_with("---") && line.contains(name)))
            .skip(1)
            .find(|line| !line.is_empty())
            .filter(|line| !line.starts_with("---"))
            .map(str::to_owned)
    };
    Some((block("USER JWT")?, block("NKEY SEED")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_its_url() {
        let (url, password) = take_password("nats://till:p%40ss@one:4222");
        assert_eq!(url, "nats://one:4222");
        let password = password.unwrap();
        assert_eq!(password.user.as_deref(), Some("till"));
        assert_eq!(password.secret.expose_secret(), "p@ss");
        assert!(!format!("{password:?}").contains("p@ss"));
        let (url, token) = take_password("tls://t0ken@one:4222");
        assert_eq!(url, "tls://one:4222");
        assert_eq!(token.unwrap().secret.expose_secret(), "t0ken");
        assert!(take_password("nats://one:4222").1.is_none());
    }

    #[test]
    fn a_credentials_file_has_a_jwt_and_a_seed() {
        let key = nkeys::KeyPair::new_user();
        let seed = key.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.abc\n------END NATS USER JWT------\n\nNKEYs are sensitive\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let (jwt, found) = blocks(&text).unwrap();
        assert_eq!((jwt.as_str(), &found), ("eyJ0.abc", &seed));
        let login = Login::User {
            jwt,
            seed: found.into(),
        };
        let signature = login.answer(b"nonce").unwrap().signature.unwrap();
        key.verify(b"nonce", &signature).unwrap();
        assert!(blocks("nothing of the kind").is_none());
    }
}
