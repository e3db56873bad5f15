use std::sync::Arc;

use contract::api::admin::admin_service_server::AdminService;
use contract::api::admin::{
    GetProjectionStatusRequest, GetProjectionStatusResponse, QuarantinedStore, StreamProgress,
};
use contract::timestamp_to_proto;
use jiff::Timestamp;
use read_model::{ProjectionReader, StoreRow, StreamRow};
use tonic::{Request, Response, Status};

use crate::request::{answer_by, by};
use crate::sales::differing_day;

pub(crate) struct Admin {
    pub projection: Arc<dyn ProjectionReader>,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_projection_status(
        &self,
        request: Request<GetProjectionStatusRequest>,
    ) -> Result<Response<GetProjectionStatusResponse>, Status> {
        let status = by(answer_by(request.metadata()), self.projection.status()).await?;
        Ok(Response::new(GetProjectionStatusResponse {
            log_epoch: status
                .streams
                .first()
                .map(|stream| stream.epoch.to_string())
                .unwrap_or_default(),
            streams: status.streams.iter().map(progress).collect(),
            quarantined: status.quarantined.iter().filter_map(quarantined).collect(),
            differing_days: status.differing.iter().map(differing_day).collect(),
        }))
    }
}

fn progress(row: &StreamRow) -> StreamProgress {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a lag of centuries may lose its last microseconds"
    )]
    let lag_seconds = row.lag_us as f64 / 1_000_000.0;
    StreamProgress {
        stream: u32::from(row.stream.0),
        generation: row.generation.0,
        checkpoint: signed(row.position.0),
        head: signed(row.head.0),
        lag_records: signed(row.head.0.saturating_sub(row.position.0)),
        lag_seconds,
        update_time: (row.updated_at > Timestamp::UNIX_EPOCH)
            .then(|| timestamp_to_proto(row.updated_at)),
        owner: row.owner.clone(),
        orphans: signed(row.orphans),
        log_changed: row.log_changed.clone(),
    }
}

fn quarantined(row: &StoreRow) -> Option<QuarantinedStore> {
    let quarantine = row.quarantine.as_ref()?;
    Some(QuarantinedStore {
        store_id: row.store.to_string(),
        reason: quarantine.reason.clone(),
        revision: signed(quarantine.revision.0),
        quarantine_time: Some(timestamp_to_proto(quarantine.at)),
        skipped_records: signed(quarantine.skipped),
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
