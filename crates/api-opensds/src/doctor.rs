//! `/doctor`: everything on which records, backends and exporters disagree; and the removal of objects that no record names.

use crate::caller::Asking;
use crate::error::ApiError;
use crate::lists::{id, json};
use crate::wire::{reason_code, time};
use crate::{Api, Routes, command, dry};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use engine::doctor::{Diagnosis, Finding, FindingKind, Mend, PoolLook, Target};
use lifecycle::{AttachmentStatus, PoolId, Resource, SnapshotId, Subject, VolumeId};
use serde_json::{Value, json as value};
use std::time::Duration;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/doctor", get(doctor))
        .route("/doctor/look", command(look))
        .route("/pools/{id}/objects/{name}", delete(remove))
}

type Answer = Result<Response, ApiError>;

/// How long a request waits for the look that it asked for: shorter than clients wait for an answer. The look goes on.
const LOOK_WAIT: Duration = Duration::from_secs(20);

async fn doctor(State(api): State<Api>, asking: Asking) -> Answer {
    Ok(json(StatusCode::OK, &api.diagnosis(&api.engine.diagnose(&asking.caller).await?)))
}

async fn look(State(api): State<Api>, asking: Asking) -> Answer {
    asking.for_real("a look")?;
    let ended = tokio::time::timeout(LOOK_WAIT, api.engine.look(&asking.caller)).await;
    let is_over = ended.is_ok();
    ended.unwrap_or(Ok(()))?;
    let mut body = api.diagnosis(&api.engine.diagnose(&asking.caller).await?);
    if is_over {
        return Ok(json(StatusCode::OK, &body));
    }
    // What follows is as of the looks before, which must not be taken for what this one has shown.
    body["looking"] = true.into();
    Ok(json(StatusCode::ACCEPTED, &body))
}

async fn remove(State(api): State<Api>, asking: Asking, Path((_, pool, name)): Path<(String, String, String)>) -> Answer {
    asking.unconditional("object of a pool")?;
    let pool: PoolId = id("pool", &pool)?;
    let (volume, snapshot) = object(&name)?;
    api.engine.remove_object(&asking.caller, pool, volume, snapshot).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be_gone());
    }
    Ok(StatusCode::OK.into_response())
}

/// An object by the name that the diagnosis tells: `VOLUME`, or `VOLUME@SNAPSHOT`.
fn object(name: &str) -> Result<(VolumeId, Option<SnapshotId>), ApiError> {
    match name.split_once('@') {
        Some((volume, snapshot)) => Ok((id("object", volume)?, Some(id("object", snapshot)?))),
        None => Ok((id("object", name)?, None)),
    }
}

impl Api {
    fn diagnosis(&self, diagnosis: &Diagnosis) -> Value {
        value!({
            "pools": diagnosis.pools.iter().map(pool).collect::<Vec<_>>(),
            "findings": diagnosis.findings.iter().map(|told| self.finding(told)).collect::<Vec<_>>(),
            "more": diagnosis.more,
        })
    }

    fn finding(&self, told: &Finding) -> Value {
        let mut body = finding(told);
        if let Target::Resource { subject: Subject::Attachment(_), status, .. } = told.about
            && let Some(status) = AttachmentStatus::from_word(status)
        {
            // What fails on one that is attached can only be its detach.
            let detaching = told.kind == FindingKind::Struggling && status == AttachmentStatus::Attached;
            body["resource"]["status"] = self.attachment_word(status, detaching).into();
        }
        body
    }
}

fn pool(look: &PoolLook) -> Value {
    let mut body = value!({"id": look.pool.to_string(), "name": look.name, "volumes": look.volumes});
    if let Some(at) = look.looked_at {
        body["lookedAt"] = time(at).into();
    }
    if let Some(trouble) = &look.trouble {
        body["trouble"] = value!({"since": time(trouble.since), "message": trouble.message});
    }
    body
}

fn finding(finding: &Finding) -> Value {
    let mut body = value!({
        "kind": finding.kind.word(),
        "message": finding.message,
        "means": finding.kind.means(),
        "mend": finding.mend.iter().map(mend).collect::<Vec<_>>(),
    });
    if !finding.detachable.is_empty() {
        body["attachments"] = finding.detachable.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }
    if let FindingKind::Status(code) = finding.kind {
        body["code"] = reason_code(code).into();
    }
    if let Some(since) = finding.since {
        body["since"] = time(since).into();
    }
    match &finding.about {
        Target::Resource { subject, tenant, status } => {
            let (kind, id) = (Resource::of(*subject).word(), subject.id().to_string());
            body["resource"] = value!({"kind": kind, "id": id, "tenantId": tenant, "status": status});
        }
        Target::Object { pool, volume, snapshot } => {
            let name = snapshot.map_or_else(|| volume.to_string(), |snapshot| format!("{volume}@{snapshot}"));
            body["object"] = value!({"poolId": pool.to_string(), "name": name});
        }
        Target::Pool(pool) => body["poolId"] = pool.to_string().into(),
        Target::Exporter(name) => body["exporter"] = name.as_str().into(),
    }
    body
}

const fn mend(mend: &Mend) -> &'static str {
    match mend {
        Mend::Command(kind) => kind.word(),
        Mend::RemoveObject => "removeObject",
    }
}
