//! JSON requests to a scheduler.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{Hello, VERSION};
use crate::{Address, Error, Token};

/// How long a scheduler may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Talks to one scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    address: Address,
    client: reqwest::Client,
    has_token: bool,
}

impl Http {
    pub(crate) fn new(address: Address, token: &Token) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .user_agent(token.user_agent())
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(|error| Error::Unreachable {
                address: address.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            address,
            client,
            has_token: token.is_set(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Checks that an Atoll scheduler of this version answers.
    pub(crate) async fn check_version(&self) -> Result<(), Error> {
        let hello = self.get(VERSION).await;
        let hello: Hello = hello.map_err(|error| match error {
            Error::Unknown(_) => self.strange(&"it has no page /version"),
            error => error,
        })?;
        if hello.name == "atoll" && hello.version == atoll_session::VERSION {
            return Ok(());
        }
        Err(Error::Version {
            address: self.address.clone(),
            theirs: hello.version,
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.send(self.client.get(self.address.http(path))).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.strange(&error))?;
        let request = self.client.post(self.address.http(path)).body(body);
        self.send(request.header("content-type", "application/json"))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        let request = self.client.delete(self.address.http(path));
        self.send::<serde_json::Value>(request).await.map(|_| ())
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, Error> {
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        match answer.status().as_u16() {
            200..300 => {}
            401 if self.has_token => {
                return Err(Error::WrongToken(self.address.clone()));
            }
            401 => return Err(Error::NoToken(self.address.clone())),
            404 => return Err(Error::Unknown(self.address.clone())),
            other => return Err(self.strange(&format!("it answered {other}"))),
        }
        let body = answer.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.strange(&error))
    }

    fn lost(&self, error: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Error::Unreachable {
            address: self.address.clone(),
            reason: cause.to_string(),
        }
    }

    fn strange(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::NotAtoll {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}
