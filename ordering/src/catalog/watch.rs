use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::Clock;
use tokio::sync::watch;

use super::{Catalog, CatalogError, default_catalog, parse};

/// How often the file is looked at for a change. Its content is compared, so replaced and linked files are noticed too.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The catalog in force; follows the file it comes from.
#[derive(Clone)]
pub struct CatalogSource(watch::Receiver<Arc<Catalog>>);

impl CatalogSource {
    #[must_use]
    pub fn fixed(catalog: Catalog) -> Self {
        let (_, receiver) = watch::channel(Arc::new(catalog));
        Self(receiver)
    }

    /// Waits for another catalog; for ever when there will be none.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    #[must_use]
    pub fn current(&self) -> Arc<Catalog> {
        self.0.borrow().clone()
    }
}

/// Opens a catalog file, or the default catalog when there is none. The future that comes with it follows the file for ever; a
/// version with mistakes is reported and the one before stays in force.
pub fn open(
    path: Option<&Path>,
    clock: Clock,
) -> Result<(CatalogSource, impl Future<Output = ()> + Send + 'static), CatalogError> {
    let text = path.map(read).transpose()?;
    let catalog = match text.as_deref() {
        Some(text) => in_force(text, &clock)?,
        None => default_catalog()?,
    };
    let (sender, receiver) = watch::channel(Arc::new(catalog));
    let path = path.map(Path::to_path_buf);
    Ok((CatalogSource(receiver), follow(path, text, sender, clock)))
}

/// A catalog whose every statement can be sold by now.
fn in_force(text: &str, clock: &Clock) -> Result<Catalog, CatalogError> {
    let catalog = parse(text)?;
    let mistakes = catalog.not_in_force(clock.now());
    if mistakes.is_empty() {
        Ok(catalog)
    } else {
        Err(CatalogError::Mistakes(mistakes))
    }
}

fn read(path: &Path) -> Result<String, CatalogError> {
    std::fs::read_to_string(path).map_err(|error| CatalogError::Unreadable {
        path: path.display().to_string(),
        cause: error.to_string(),
    })
}

async fn follow(
    path: Option<PathBuf>,
    mut seen: Option<String>,
    sender: watch::Sender<Arc<Catalog>>,
    clock: Clock,
) {
    let Some(path) = path else { return };
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // A file that is missing for a moment is being replaced.
        let Ok(text) = tokio::fs::read_to_string(&path).await else {
            continue;
        };
        if seen.as_ref() == Some(&text) {
            continue;
        }
        match in_force(&text, &clock) {
            Ok(catalog) => {
                tracing::info!(path = %path.display(), stores = catalog.stores.len(), "catalog reloaded");
                sender.send_replace(Arc::new(catalog));
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the changed catalog is not used");
            }
        }
        seen = Some(text);
    }
}
