//! What the reference says of `train`.

use std::sync::LazyLock;

use atoll_nn::{Augmentation, Metric};
use datafusion::logical_expr::Documentation;

use super::arguments::{COLUMN_OPTIONS, DATASET, SECTION};
use super::train::{HYPERPARAMETER_KEYS, USAGE};

pub(super) static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Trains one network per row and returns a struct: `trial_id`, `status`, \
         `error_code`, `error`, `epochs`, `best_epoch`, `train_loss`, `validation_loss`, \
         `validation_accuracy`, `history` (a list with `epoch`, `learning_rate`, \
         `train_loss`, `validation_loss`, `validation_accuracy`, `seconds` and \
         `validation_score`), `model` \
         (path or URL of an ONNX file with the weights of the best epoch), \
         `model_sha256`, `checkpoint` (path or URL, if the options ask for one), `seed`, \
         `started_at` and `worker` (when and on which thread, as `host:process/thread`), \
         `seconds`, `engine`, `validation_score` (the `metric` of the best epoch; without one \
         the accuracy, or the negative loss where numbers are predicted), \
         `validation_score_std` and `folds` (of trials in folds: how far their scores are \
         apart, and what each came to).\n\n\
         `status` is `SUCCEEDED`, `DIVERGED` (the loss became NaN or infinite), \
         `INFEASIBLE` (hyperparameters outside their domains, or an architecture that \
         does not fit the images), `TIMED_OUT` or `FAILED`: a bad row never fails the \
         statement. What a literal gets wrong, such as `optimizer: 'Adam'`, is wrong in \
         every row and an error before anything is read. Test rows (`split` = 'test') are never seen. Rows with `split` = \
         'validation' choose the best epoch; without such rows a share of the rows does \
         (`validation_fraction`), the same for all trials. Each class gives its share of them \
         (`stratify`), and rows of a group stay together (`group`). With `{folds: 5}` each \
         row validates once: five networks say how good the hyperparameters are \
         (`validation_score`, `validation_loss`, `validation_accuracy` and `history` are \
         means over the folds), and `model` is a sixth, trained on all rows for as many \
         epochs as were best on average.\n\n\
         A finished trial is kept under `atoll.storage` and found again instead of \
         trained again, so that a stopped statement resumes and a larger search trains \
         only its new rows.\n\n\
         With a `backbone` the dataset is photos of any size and format, and networks learn from \
         what enters the last dense layer of that model. Its features are computed once for each \
         image, kept under `atoll.storage` by the content of the image, and shared by all \
         trials; photos that cannot be read are left out with a warning. The architecture is \
         `linear` unless the row says more. The `model` is one ONNX file, backbone and head, \
         with preprocessing and class names.\n\n\
         Columns become inputs of the model under their names, whatever their order, and what \
         they need is a part of it: a number is centred and scaled by the training split, with \
         its median and an input that says so where it is NULL; a text has an input of its own, \
         or a vector that is learned (`embedding`), and one that training has not seen, as well \
         as NULL, is known; a date is a number and a place in the week and in the year, a time \
         in the day too; an empty text counts as NULL. A number that is predicted from columns \
         is an output under the name of its column. Left out, with a warning, are columns that \
         say the same of all rows, texts that are another in every row, and whole numbers that \
         are another in every row of a column called like an id; `features` keeps them. \
         Columns of lists of numbers alone are one list, without names.\n\n\
         What is odd about the data is a warning on standard error, once a statement, and \
         in the trial's record: classes without rows to train on, gaps between class \
         indices, nearly as many classes as rows, classes without rows to validate on, images \
         that validate and are nearly the same as one that is trained on, labels or features \
         that are all the same; and so is a statement in which no trial succeeded. What cannot be used (a \
         NULL, a NaN, a whole number beyond 2^53, a NUL in a class name) is an error that \
         names column and row.",
        USAGE.syntax,
    )
    .with_argument("dataset", DATASET)
    .with_argument(
        "hyperparameters",
        format!(
            "Struct with any of {}. NULL gives NULL; a NULL in it is the default. What each \
             does, its domain and its default are in the table \
             `hyperparameters()`. `augmentation` is a struct with any of {}. `resume_from` is \
             none of them: it names a checkpoint to go on from, such as the `checkpoint` of \
             a row of an earlier study.",
            HYPERPARAMETER_KEYS.join(", "),
            Augmentation::keys().join(", ")
        ),
    )
    .with_argument(
        "options",
        format!(
            "Literal struct with any of {COLUMN_OPTIONS}; `split_seed` (which rows \
             validate, 0 by default), `stratify` (whether each class gives its share of the \
             rows that validate, true by default; false is the split of versions before \
             there was a choice, and finds their trials), `folds` (in how many parts the rows \
             are cut, from 2), `metric` (what chooses the best epoch and the best trial, the \
             larger the better, and what `patience` watches: one of {}, as scikit-learn calls \
             them; `macro_f1` and the like are the same), `timeout_seconds` (for one trial, none by default), \
             `threads_per_trial` (1 by default; more are for one large trial and change no \
             bit of it), \
             `checkpoint` (whether to write checkpoints, false by default), `resume_from` \
             (a checkpoint for all rows), `backbones` (a list of all that rows name as their \
             `backbone`, where it is not the same in all rows), `backbone_options` (a struct \
             with `output`, the tensor to take instead of the features, and the preprocessing \
             keys of `classify`, where the backbone's metadata does not say them).",
            Metric::names().collect::<Vec<_>>().join(", ")
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
    .with_related_udf("hyperparameters")
    .with_related_udf("evaluate")
    .with_related_udf("predict")
    .build()
});
