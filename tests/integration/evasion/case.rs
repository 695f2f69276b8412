//! A case: what a device does with a hello, and what should come of it.

use sensor_lab::lab::Family;
use sensor_lab::script::Script;

use super::draft::Draft;

/// One way to send a hello. It is tried with a blocked name, which must not be answered, and with an
/// allowed one.
pub(super) struct Case {
    pub(super) name: String,
    script: Box<dyn Fn(&Draft) -> Script + Send + Sync>,
    pub(super) server: Server,
    pub(super) allowed: Allowed,
    /// Where it is possible at all.
    families: &'static [Family],
}

/// What the server makes of it where no sensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Answers,
    /// It never answers such bytes, or only the innocent hello among them.
    Refuses,
}

/// What becomes of it, past the sensor, if the name is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// What the server answers without a sensor, it answers with one.
    Loads,
    /// No honest client does this: the sensor may refuse it whatever the name.
    MayFail,
}

impl Case {
    /// What the device does with the name, over one family.
    pub(super) fn script(&self, draft: &Draft, family: Family) -> Script {
        (self.script)(draft).over(family)
    }

    pub(super) fn families(&self) -> &'static [Family] {
        self.families
    }

    /// It can be done over one family only.
    pub(super) fn only_over(self, family: Family) -> Self {
        let families = match family {
            Family::V4 => &[Family::V4],
            Family::V6 => &[Family::V6],
        };
        Self { families, ..self }
    }

    /// No server falls for it.
    pub(super) fn refused(self) -> Self {
        Self { server: Server::Refuses, ..self }
    }

    /// No honest client does it.
    pub(super) fn dishonest(self) -> Self {
        Self { allowed: Allowed::MayFail, ..self }
    }
}

pub(super) fn case(
    name: impl Into<String>,
    script: impl Fn(&Draft) -> Script + Send + Sync + 'static,
) -> Case {
    Case {
        name: name.into(),
        script: Box::new(script),
        server: Server::Answers,
        allowed: Allowed::Loads,
        families: &[Family::V4, Family::V6],
    }
}
