//! What the reference says of `train`.

use std::sync::LazyLock;

use atoll_nn::Augmentation;
use datafusion::logical_expr::Documentation;

use super::{HYPERPARAMETER_KEYS, USAGE};
use crate::arguments::{COLUMN_OPTIONS, DATASET, SECTION};

/// The documentation of the keys of `augmentation`.
const AUGMENTATION: &str = "most whole pixels, degrees and share by which an image moves, \
    turns and grows; whether every second one is mirrored; standard deviation in pixels of \
    an elastic distortion and of the Gaussian that smooths it, 4 by default; side of a \
    square that is blackened";

pub(super) static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Trains one network per row and returns a struct: `trial_id`, `status`, \
         `error_code`, `error`, `epochs`, `best_epoch`, `train_loss`, `validation_loss`, \
         `validation_accuracy`, `history` (a list with `epoch`, `learning_rate`, \
         `train_loss`, `validation_loss`, `validation_accuracy` and `seconds`), `model` \
         (path or URL of an ONNX file with the weights of the best epoch), \
         `model_sha256`, `checkpoint` (path or URL, if the options ask for one), `seed`, \
         `started_at` and `worker` (when and on which thread, as `host:process/thread`), \
         `seconds` and `engine`.\n\n\
         `status` is `SUCCEEDED`, `DIVERGED` (the loss became NaN or infinite), \
         `INFEASIBLE` (hyperparameters outside their domains, or an architecture that \
         does not fit the images), `TIMED_OUT` or `FAILED`: a bad row never fails the \
         statement. What a literal gets wrong, such as `optimizer: 'Adam'`, is wrong in \
         every row and an error before anything is read. Test rows (`split` = 'test') are never seen. Rows with `split` = \
         'validation' choose the best epoch; without such rows a share of the rows does \
         (`validation_fraction`), the same for all trials.\n\n\
         A finished trial is kept under `atoll.storage` and found again instead of \
         trained again, so that a stopped statement resumes and a larger search trains \
         only its new rows.\n\n\
         What is odd about the data is a warning on standard error, once a statement, and \
         in the trial's record: classes without rows to train on, gaps between class \
         indices, nearly as many classes as rows, labels or features that are all the \
         same; and so is a statement in which no trial succeeded. What cannot be used (a \
         NULL, a NaN, a whole number beyond 2^53, a NUL in a class name) is an error that \
         names column and row.",
        USAGE.syntax,
    )
    .with_argument("dataset", DATASET)
    .with_argument(
        "hyperparameters",
        format!(
            "Struct with any of {}. NULL gives NULL; a NULL in it is the default. \
             `architecture` is 'auto' (default: 'lenet' for images, 'mlp' for rows of \
             numbers), 'lenet', 'mlp' or layers such as 'conv(32, 5), relu, max_pool(2), \
             dense(10)', which may name `hidden` and `dropout`: 'dense(hidden), relu, \
             dropout(dropout), dense(10)'. `loss` is 'cross_entropy' (classes) or 'mse' (the default for \
             labels that are FLOAT or DOUBLE: a number is predicted, losses are mean squared \
             errors in its own units, and there is no accuracy). `schedule` is how the \
             learning rate changes from epoch to epoch: 'cosine' (the default: half a \
             cosine, down to zero), 'constant', 'step' or 'exponential' (the default with \
             `decay`). `augmentation` changes training images at \
             random, each time anew; it is a struct with any of {} ({AUGMENTATION}). \
             `mixup` mixes training images with each other, with shares from a beta \
             distribution with this parameter (0 to 1); `label_smoothing` spreads a share of \
             each label over all classes. With `ema_decay`, such as 0.999, a moving average \
             of the weights is validated and exported in their place; its first steps decay \
             faster, as in TensorFlow. `resume_from` names a checkpoint to go on from, \
             such as the `checkpoint` of a row of an earlier study.",
            HYPERPARAMETER_KEYS.join(", "),
            Augmentation::keys().join(", ")
        ),
    )
    .with_argument(
        "options",
        format!(
            "Literal struct with any of {COLUMN_OPTIONS}; `split_seed` (which rows \
             validate, 0 by default), `timeout_seconds` (for one trial, none by default), \
             `threads_per_trial` (1 by default; more are for one large trial and change no \
             bit of it), \
             `checkpoint` (whether to write checkpoints, false by default), `resume_from` \
             (a checkpoint for all rows)."
        ),
    )
    .with_sql_example(
        "SELECT hidden, t.status, t.epochs\n\
         FROM (\n\
         \x20   SELECT hidden, train(\n\
         \x20       'sql/data/digits.parquet',\n\
         \x20       {architecture: 'mlp', hidden: hidden, epochs: 2}\n\
         \x20   ) AS t\n\
         \x20   FROM (VALUES (16), (32)) AS search_space(hidden)\n\
         ) AS trials\n\
         ORDER BY hidden;",
    )
    .with_related_udf("evaluate")
    .with_related_udf("predict")
    .build()
});
