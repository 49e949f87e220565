//! The hyperparameter `augmentation`: how training images are changed at random.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read::Kept;
use super::refuse;
use super::table::{
    BELOW_ONE, Domain, FROM_ZERO, Hyperparameter, default_text, hyperparameters, sentence,
};
use crate::error::nearest;
use crate::{Error, ImageShape};

hyperparameters! {
    /// How the images of training mini-batches are changed at random, each time anew.
    ///
    /// Images of the validation split are never changed. What enters an image from outside
    /// is black.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    Augmentation, "augmentation.";

    /// Most pixels that an image moves in each direction, in whole pixels; less than its
    /// shorter side.
    shift: u32 = 0, FROM_ZERO;
    /// Most degrees that it turns either way.
    rotate: f64 = 0.0, Domain::Number {
        words: "from 0 to 180 degrees",
        inside: |x| (0.0..=180.0).contains(&x),
    };
    /// Most that it grows or shrinks: 0.1 is from 0.9 to 1.1 times.
    scale: f64 = 0.0, BELOW_ONE;
    /// Whether every second one is mirrored, left to right.
    flip: bool = false, Domain::Any;
    /// Standard deviation of an elastic displacement (Simard 2003), in pixels.
    elastic: f64 = 0.0, Domain::Number {
        words: "from 0 to 1000 pixels",
        inside: |x| (0.0..=1_000.0).contains(&x),
    };
    /// Standard deviation of the Gaussian that smooths the displacement, in pixels.
    elastic_sigma: f64 = 4.0, Domain::Number {
        words: "from 1 to 1000 pixels",
        inside: |x| (1.0..=1_000.0).contains(&x),
    };
    /// Side of a square that is blackened (DeVries and Taylor 2017), in pixels; its centre
    /// is anywhere in the image. Less than the shorter side of the image.
    cutout: u32 = 0, FROM_ZERO;
}

impl Augmentation {
    /// The rows of the table of hyperparameters.
    pub(super) fn table() -> Vec<Hyperparameter> {
        Self::rows()
    }

    /// Reads a JSON object; one that changes nothing is none.
    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Option<Self>, Error> {
        let mut augmentation = Self::default();
        for (key, value) in map {
            Self::check_key(key)?;
            if !value.is_null() {
                augmentation.set(key, value)?;
            }
        }
        augmentation.validate()?;
        Ok((augmentation.moves() || augmentation.cutout > 0).then_some(augmentation))
    }

    /// Checks everything that can be checked without knowing the images.
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.check_domains()
    }

    /// Checks that something remains of the images.
    pub(crate) fn validate_for(&self, shape: ImageShape) -> Result<(), Error> {
        self.validate()?;
        let ImageShape { height, width, .. } = shape;
        let shortest = height.min(width);
        for (key, pixels) in [("shift", self.shift), ("cutout", self.cutout)] {
            if pixels as usize >= shortest {
                let expected =
                    format!("less than {shortest} for images of {height} x {width}");
                return refuse(&format!("augmentation.{key}"), &expected, &pixels);
            }
        }
        Ok(())
    }

    /// Whether pixels change their places.
    pub(crate) fn moves(&self) -> bool {
        let Self { shift, flip, .. } = *self;
        shift > 0 || flip || [self.rotate, self.scale, self.elastic] != [0.0; 3]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value) -> Result<Option<Augmentation>, Error> {
        Option::read("augmentation", Domain::Any, json)
    }

    #[track_caller]
    fn check_refused(json: &Value, expected: &str) {
        let error = read(json).unwrap_err();
        assert!(error.is_infeasible());
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn every_key_can_be_set() {
        let json = json!({
            "shift": 2, "rotate": 10, "scale": 0.1, "flip": true, "elastic": 0.5,
            "elastic_sigma": 3, "cutout": 8,
        });
        let augmentation = read(&json).unwrap().unwrap();
        let set = serde_json::to_value(&augmentation).unwrap();
        let default = serde_json::to_value(Augmentation::default()).unwrap();
        for key in KEYS {
            assert_ne!(set[*key], default[*key], "{key}");
        }
        assert_eq!(set.as_object().unwrap().len(), KEYS.len());
        assert_eq!(read(&set).unwrap(), Some(augmentation));
    }

    #[test]
    fn what_changes_nothing_is_none() {
        for json in [
            json!({}),
            json!({"shift": 0, "rotate": null, "elastic_sigma": 9}),
        ] {
            assert_eq!(read(&json).unwrap(), None);
        }
    }

    #[test]
    fn wrong_keys_types_and_values_are_refused() {
        check_refused(
            &json!({"rotat": 1}),
            "unknown hyperparameter 'augmentation.rotat', did you mean 'rotate'?",
        );
        check_refused(
            &json!(2),
            "augmentation must be a struct such as {shift: 2}, got 2",
        );
        check_refused(
            &json!({"rotate": 200}),
            "augmentation.rotate must be from 0 to 180 degrees, got 200",
        );
        check_refused(
            &json!({"scale": 1}),
            "augmentation.scale must be at least 0 and less than 1, got 1",
        );
        check_refused(
            &json!({"shift": -1}),
            "augmentation.shift must be an integer of at least 0, got -1",
        );
        check_refused(
            &json!({"elastic": 1, "elastic_sigma": 0}),
            "augmentation.elastic_sigma must be from 1 to 1000 pixels, got 0",
        );
    }

    #[test]
    fn something_must_remain_of_an_image() {
        let shape = ImageShape {
            height: 8,
            width: 6,
            channels: 1,
        };
        let shift = |shift| Augmentation {
            shift,
            ..Augmentation::default()
        };
        assert!(shift(5).validate_for(shape).is_ok());
        assert_eq!(
            shift(6).validate_for(shape).unwrap_err().to_string(),
            "augmentation.shift must be less than 6 for images of 8 x 6, got 6"
        );
    }
}
