//! The options that every command with a session takes, and the session that they describe.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use atoll_cluster::{Address, Client, Token};
use atoll_session::SessionOptions;
use clap::Args;

use crate::errors::Failure;
use crate::output::RowFormat;

/// Where servers listen unless they are told otherwise: this machine alone reaches it.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What every command that runs SQL takes.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Fill ${NAME} in scripts; may repeat
    ///
    /// ${NAME} is replaced everywhere but in comments. Inside a string literal quotes
    /// in the value are doubled. $${ stands for ${. A script's header lines
    /// "-- Parameter: name type = default -- help" say what holds without this option.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, global = true)]
    pub(crate) set: Vec<(String, String)>,

    /// Write rows in this format
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub(crate) format: RowFormat,

    /// Show no progress and no greeting
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Let operators hold this much memory, such as 512m or 2g
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, global = true)]
    pub(crate) memory_limit: Option<usize>,

    /// Run this many trials, images and partitions at once [default: one a core]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Keep trials, models and tables in this folder or URL
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) storage: Option<String>,

    /// Run expensive functions and large statements on the cluster of this scheduler
    #[arg(long, value_name = "df://HOST:PORT", global = true)]
    pub(crate) cluster: Option<Address>,

    /// Read the token of the cluster or the server from this file [default: the variable ATOLL_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
}

impl SessionArgs {
    /// The options of a session. Connects to the cluster, if one is named, and fails if its
    /// scheduler does not answer.
    pub(crate) async fn options(&self) -> Result<SessionOptions, Failure> {
        let mut options = SessionOptions {
            storage: self.storage.clone(),
            memory_limit: self.memory_limit,
            threads: self.threads,
            ..SessionOptions::default()
        };
        if let Some(address) = &self.cluster {
            let client = Client::connect(address.clone(), self.token()?).await?;
            options.cluster = Some(Arc::new(client));
        }
        Ok(options)
    }

    /// The token of the cluster or the server: that of the file, or else of the variable
    /// ATOLL_TOKEN. Fails if it is too short to be a secret.
    pub(crate) fn token(&self) -> Result<Token, Failure> {
        Ok(Token::find(self.token_file.as_deref())?)
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_string(), value.to_string()))
        }
        _ => Err("write NAME=VALUE".to_string()),
    }
}

fn parse_memory(text: &str) -> Result<usize, String> {
    atoll_session::parse_size(text)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "write a size above 0, such as 512m or 2g".to_string())
}
