//! Who is logged in where, as the daemon is told and tells it.
//!
//! `POST /v1/logins` takes a [`NewLogin`], `DELETE /v1/logins/ADDRESS` ends one; both answer with a [`LoginStatus`].
//! `GET /v1/logins` answers with all of them.

use std::net::IpAddr;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::identity::{Login, ROLES_MAX};
use crate::policy::member::{USER_BYTES_MAX, user};

/// Somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLogin {
    /// Where.
    pub address: IpAddr,
    /// Who.
    pub user: String,
    /// Their roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

impl NewLogin {
    /// The login, with names as they are compared.
    pub fn check(&self) -> anyhow::Result<Login> {
        if self.roles.len() > ROLES_MAX {
            bail!("{} roles: at most {ROLES_MAX} count", self.roles.len());
        }
        let name = |text: &String| {
            user(text).ok_or_else(|| {
                anyhow::anyhow!(
                    "a user or role has 1 to {USER_BYTES_MAX} bytes and no control characters"
                )
            })
        };
        let roles = self.roles.iter().map(name).collect::<anyhow::Result<_>>()?;
        Ok(Login { user: name(&self.user)?, roles })
    }
}

/// Who is at an address, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// Where.
    pub address: IpAddr,
    /// Who; nobody any more, where there is none.
    pub login: Option<Login>,
    /// The group that the policy in force puts the device into for it; none where no group names them.
    pub group: Option<String>,
}
