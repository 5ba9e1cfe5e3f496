//! Where the search meets the weights: a run from its settings to its front, in a folder that can always be resumed.

mod blocks;
mod budgets;
mod candidates;
mod device;
mod finish;
mod history;
mod images;
mod one_shot;
mod pick;
mod plan;
mod post_training;
mod ptq_methods;
mod repair;
mod run_directory;
mod search;
mod session;
mod settings;
mod single;
mod starting_weights;
mod supernet;
mod trained;
mod workers;

pub use blocks::{BlockFolder, BlockSettings, TeacherResult, make_blocks, teacher_model};
pub use candidates::{RowJournal, Scorer, records, violation};
pub use finish::{Summary, summary};
pub use history::{History, Row, Status, Tested, read_history, read_tested, tested_text};
pub use images::{JudgingImages, RunImages, calibration_images, labelled_images, test_images};
pub use pick::{Member, Pick, Picked, member, picked};
pub use ptq_methods::{MethodResult, PtqMethod, compare_methods};
pub use run_directory::RunDirectory;
pub use search::{check_search, run_search};
pub use session::{Session, device, set_threads};
pub use settings::{Algorithm, MOST_THREADS, Mode, Settings, TrainSettings};
pub use single::{SingleResult, check_training, tested_top1, train_single};
pub use starting_weights::StartingWeights;
pub use trained::Trained;
