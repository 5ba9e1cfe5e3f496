//! The folder of a run: its name, what lies where, and refusing to overwrite another run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::atomic::write_atomically;
use crate::error::{Error, Result};

/// Paths inside a run's folder.
#[derive(Clone, Debug)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// Makes the folder of a new run: `out`, or `runs/<name>-<n>` with the first free number. A folder that holds a run
    /// already is refused unless `force`, which clears the old run's files.
    ///
    /// # Errors
    /// The folder holds a run, or cannot be made.
    pub fn create(out: Option<&Path>, name: &str, force: bool) -> Result<Self> {
        let run = Self(Self::place(out, name, force)?);
        if run.config().exists() {
            run.clear()?;
        }
        for folder in [run.front_folder(), run.state()] {
            fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
        }
        Ok(run)
    }

    /// Where [`RunDirectory::create`] would make the folder; nothing is made or cleared.
    ///
    /// # Errors
    /// The folder holds a run, and `force` is not given.
    pub fn place(out: Option<&Path>, name: &str, force: bool) -> Result<PathBuf> {
        let folder = out.map_or_else(|| first_free(name), Path::to_path_buf);
        if !force && folder.join("run.ron").exists() {
            let expected = "holds a run already; choose another folder, `bitfront resume` it, or pass --force";
            return Err(Error::bad_value("--out", folder.display(), expected));
        }
        Ok(folder)
    }

    /// The folder of an existing run.
    ///
    /// # Errors
    /// There is no run in it.
    pub fn open(folder: &Path) -> Result<Self> {
        let run = Self(folder.to_path_buf());
        if run.config().is_file() {
            Ok(run)
        } else {
            Err(Error::bad_value("RUN", folder.display(), "is not a run's folder: it has no run.ron"))
        }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("run.ron")
    }

    /// One row a candidate.
    pub fn history(&self) -> PathBuf {
        self.0.join("history.csv")
    }

    /// The front.
    pub fn pareto(&self) -> PathBuf {
        self.0.join("pareto.csv")
    }

    /// The uniform formats, tested like the front.
    pub fn uniform(&self) -> PathBuf {
        self.0.join("uniform.csv")
    }

    /// The random baseline's front, tested.
    pub fn baseline(&self) -> PathBuf {
        self.0.join("baseline.csv")
    }

    /// How each target of a one-shot search ended.
    pub fn targets(&self) -> PathBuf {
        self.0.join("targets.csv")
    }

    /// The front's picture.
    pub fn picture(&self) -> PathBuf {
        self.0.join("pareto.svg")
    }

    /// The networks of the front.
    pub fn front_folder(&self) -> PathBuf {
        self.0.join("front")
    }

    /// The trained shared weights.
    pub fn supernet(&self) -> PathBuf {
        self.0.join("supernet.safetensors")
    }

    /// What a resumed run needs.
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Keeps other processes from working in the folder as long as the result lives; the system frees it with the process.
    ///
    /// # Errors
    /// Another process works in the folder.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.state().join("lock");
        let io = |error| Error::io(&path, error);
        fs::create_dir_all(self.state()).map_err(io)?;
        let file = fs::File::create(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::bad_value("RUN", self.0.display(), "another bitfront is working in this folder"))
            }
            Err(fs::TryLockError::Error(error)) => Err(io(error)),
        }
    }

    /// Writes a text file of the run, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, text: &str) -> Result<()> {
        write_atomically(path, |out| out.write_all(text.as_bytes()))
    }

    /// Removes the files that a run writes, and nothing else.
    fn clear(&self) -> Result<()> {
        for file in [
            self.config(),
            self.history(),
            self.pareto(),
            self.uniform(),
            self.baseline(),
            self.picture(),
            self.supernet(),
            self.targets(),
            self.0.join("nearest.ron"),
        ] {
            if file.exists() {
                fs::remove_file(&file).map_err(|error| Error::io(&file, error))?;
            }
        }
        for folder in [self.front_folder(), self.state()] {
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
            }
        }
        Ok(())
    }
}

fn first_free(name: &str) -> PathBuf {
    (1_u32..).map(|n| Path::new("runs").join(format!("{name}-{n}"))).find(|path| !path.exists()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_works_in_a_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(Some(scratch.path()), "x", false).unwrap();
        let lock = run.lock().unwrap();
        assert!(run.lock().unwrap_err().to_string().contains("another bitfront"));
        drop(lock);
        assert!(run.lock().is_ok());
    }

    #[test]
    fn a_folder_with_a_run_is_refused_and_force_clears_only_the_runs_files() {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(Some(scratch.path()), "x", false).unwrap();
        run.write(&run.config(), "()").unwrap();
        fs::write(scratch.path().join("mine.txt"), "keep").unwrap();
        let refused = RunDirectory::create(Some(scratch.path()), "x", false).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--force"));
        RunDirectory::create(Some(scratch.path()), "x", true).unwrap();
        assert!(!run.config().exists() && scratch.path().join("mine.txt").exists());
        assert!(RunDirectory::open(scratch.path()).is_err());
    }
}
