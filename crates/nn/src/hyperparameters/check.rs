//! What hyperparameters must be beside each other; the domain of each is in its row.

use super::{Hyperparameters, OptimizerKind, places, refuse};
use crate::Error;
use crate::architecture::{Preset, parse};

impl Hyperparameters {
    /// What goes together in the steps of a training.
    pub(super) fn check_steps(&self) -> Result<(), Error> {
        if self.nesterov && self.momentum == 0.0 && self.optimizer == OptimizerKind::Sgd {
            return refuse("momentum", "greater than 0 when nesterov is true", &0);
        }
        match self.stop_after {
            Some(last) if last > self.epochs => {
                let domain = format!("from 1 to epochs, which is {}", self.epochs);
                refuse("stop_after", &domain, &last)
            }
            _ => Ok(()),
        }
    }

    /// What goes together with the architecture.
    pub(super) fn check_preset(&self) -> Result<(), Error> {
        let preset = Preset::named(&self.architecture);
        let given = [
            (
                "filters",
                self.filters.as_ref().map(|counts| format!("{counts:?}")),
            ),
            ("hidden", self.hidden.map(|units| units.to_string())),
            (
                "dropout",
                self.dropout.map(|probability| probability.to_string()),
            ),
        ];
        for (name, actual) in given {
            let is_named = preset.is_none()
                && name != "filters"
                && places::names(&self.architecture, name);
            let Some(actual) = actual else {
                if is_named {
                    return refuse(name, "given where the layers name it", &"NULL");
                }
                continue;
            };
            let expected = match preset {
                None if is_named => continue,
                None => format!(
                    "left out when architecture is a list of layers, because it is a key \
                     of the presets; write {} into the layers",
                    match name {
                        "filters" => "conv",
                        "hidden" => "dense(hidden)",
                        _ => "dropout(dropout)",
                    }
                ),
                Some(Preset::VitTiny) if name == "filters" => {
                    "left out for the preset 'vit_tiny', whose width is hidden".to_owned()
                }
                Some(Preset::Mlp | Preset::Linear | Preset::TabularResnet)
                    if name == "filters" =>
                {
                    format!(
                        "left out for the preset '{}', which has no convolution",
                        self.architecture.trim()
                    )
                }
                Some(_) => continue,
            };
            return refuse(name, &expected, &actual);
        }
        match (preset, &self.filters) {
            (None, _) => parse(&self.layers()).map(|_| ())?,
            (_, Some(counts)) if counts.is_empty() || counts.contains(&0) => {
                return refuse(
                    "filters",
                    "a list of integers of at least 1",
                    &format!("{counts:?}"),
                );
            }
            _ => {}
        }
        Ok(())
    }
}
