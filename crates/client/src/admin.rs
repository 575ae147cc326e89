//! What administrators, tools and the operator ask.

use pondage_model::{MemberId, Name, Refusal, Revision};
use pondage_protocol::{
    admin::{Applied, Apply, Cluster, Delete, WatchEvent},
    consume::StartAt,
    groups::GroupPartition,
    members::Membership,
    resources::{Resource, ResourceKind},
    v1,
};
use tonic::Streaming;

use crate::{
    Client, ClientError, Settings,
    client::{Repeat, admin, groups},
};

/// Changes of the catalog as they come.
#[derive(Debug)]
pub struct Watch {
    responses: Streaming<v1::WatchResponse>,
}

impl Watch {
    /// The next change; `None` if the broker ended the watch: begin again at the last revision seen.
    ///
    /// # Errors
    /// Those of the broker and the connection.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        let response = self.responses.message().await?;
        Ok(response.map(WatchEvent::try_from).transpose()?)
    }
}

impl Client {
    /// Creates a resource or brings it to these settings. Repeating it changes nothing.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn apply(&self, name: Name, settings: Settings) -> Result<Applied, ClientError> {
        self.apply_with(Apply { name, settings, if_revision: None, dry_run: false }).await
    }

    /// As [`Client::apply`], with a precondition, or only to see what would change.
    ///
    /// # Errors
    /// `CONFLICT` if the precondition does not hold.
    pub async fn apply_with(&self, apply: Apply) -> Result<Applied, ClientError> {
        let repeat = if apply.if_revision.is_some() { Repeat::IfDefinite } else { Repeat::Safe };
        let request = v1::ApplyRequest::from(apply);
        let response = self
            .call(repeat, |channel| {
                let request = request.clone();
                async move { admin(channel).apply(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// One resource with its status.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn get(&self, kind: ResourceKind, name: &str) -> Result<Resource, ClientError> {
        let request = v1::GetRequest { kind: kind.to_wire(), name: name.to_owned() };
        let response = self
            .call(Repeat::Safe, |channel| {
                let request = request.clone();
                async move { admin(channel).get(request).await }
            })
            .await?;
        let resource =
            response.resource.ok_or(Refusal::Malformed { what: "an answer without a resource" })?;
        Ok(resource.try_into()?)
    }

    /// All resources of one kind by name, page by page.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn list(&self, kind: ResourceKind, with_status: bool) -> Result<Vec<Resource>, ClientError> {
        let mut resources: Vec<Resource> = Vec::new();
        loop {
            let after_name = resources.last().map(|last| last.name.to_string()).unwrap_or_default();
            let request = v1::ListRequest { kind: kind.to_wire(), max_resources: 0, after_name, with_status };
            let response = self
                .call(Repeat::Safe, |channel| {
                    let request = request.clone();
                    async move { admin(channel).list(request).await }
                })
                .await?;
            let more = response.more && !response.resources.is_empty();
            for resource in response.resources {
                let resource = Resource::try_from(resource)?;
                // A list that does not go forward would never end.
                if resources.last().is_some_and(|last| last.name >= resource.name) {
                    return Err(Refusal::Malformed { what: "a list out of order" }.into());
                }
                resources.push(resource);
            }
            if !more {
                return Ok(resources);
            }
        }
    }

    /// Deletes a resource; false if its policy lets it live on.
    ///
    /// # Errors
    /// `NOT_FOUND`; `NOT_EMPTY` if its policy forbids; `CONFLICT` if a precondition does not hold.
    pub async fn delete(&self, delete: Delete) -> Result<bool, ClientError> {
        let request = v1::DeleteRequest::from(delete);
        let response = self
            .call(Repeat::IfDefinite, |channel| {
                let request = request.clone();
                async move { admin(channel).delete(request).await }
            })
            .await?;
        Ok(response.deleted)
    }

    /// The changes behind a revision, as they come; behind [`Revision::ZERO`] everything that exists comes first.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` if the changes since then are no longer known.
    pub async fn watch(&self, from: Revision) -> Result<Watch, ClientError> {
        let responses = self
            .call(Repeat::Safe, |channel| async move {
                admin(channel).watch(v1::WatchRequest { from_revision: from.0 }).await
            })
            .await?;
        Ok(Watch { responses })
    }

    /// The cluster as a whole.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn describe_cluster(&self) -> Result<Cluster, ClientError> {
        let response = self
            .call(Repeat::Safe, |channel| async move {
                admin(channel).describe_cluster(v1::DescribeClusterRequest {}).await
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// Who the members of a group are, and what they own.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn get_members(&self, group: &str) -> Result<Membership, ClientError> {
        let request = v1::GetMembersRequest { group: group.to_owned() };
        let response = self
            .call(Repeat::Safe, |channel| {
                let request = request.clone();
                async move { groups(channel).get_members(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// Where a group stands in a topic, by partition.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn get_offsets(&self, group: &str, topic: &str) -> Result<Vec<GroupPartition>, ClientError> {
        let request = v1::GetOffsetsRequest { group: group.to_owned(), topic: topic.to_owned() };
        let response = self
            .call(Repeat::Safe, |channel| {
                let request = request.clone();
                async move { groups(channel).get_offsets(request).await }
            })
            .await?;
        Ok(response.partitions.into_iter().map(GroupPartition::from).collect())
    }

    /// Says which members of a group are drained: they get nothing more to do, finish what they have and give up what they
    /// own. All others are not, or no longer. It holds for a minute, and until another broker leads the group's home: to
    /// drain for longer is to say it again.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of the connection.
    pub async fn drain_members(&self, group: &str, members: &[MemberId]) -> Result<(), ClientError> {
        let request = v1::DrainMembersRequest {
            group: group.to_owned(),
            member_ids: members.iter().map(|member| member.0.0.to_vec().into()).collect(),
        };
        self.call(Repeat::Safe, |channel| {
            let request = request.clone();
            async move { groups(channel).drain_members(request).await }
        })
        .await
        .map(drop)
    }

    /// Moves a group's cursors; consumers that own the partitions are fenced.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` for an offset outside its partition. Some partitions may have moved.
    pub async fn set_offsets(
        &self,
        group: &str,
        topic: &str,
        seeks: &[(u32, StartAt)],
    ) -> Result<Vec<GroupPartition>, ClientError> {
        self.seek(group, topic, seeks, false).await
    }

    /// Where [`Self::set_offsets`] would move a group's cursors, without their delay.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` for an offset outside its partition.
    pub async fn try_offsets(
        &self,
        group: &str,
        topic: &str,
        seeks: &[(u32, StartAt)],
    ) -> Result<Vec<GroupPartition>, ClientError> {
        self.seek(group, topic, seeks, true).await
    }

    async fn seek(
        &self,
        group: &str,
        topic: &str,
        seeks: &[(u32, StartAt)],
        dry_run: bool,
    ) -> Result<Vec<GroupPartition>, ClientError> {
        let seek =
            |(partition, to): &(u32, StartAt)| v1::Seek { partition: *partition, to: Some((*to).into()) };
        let request = v1::SetOffsetsRequest {
            group: group.to_owned(),
            topic: topic.to_owned(),
            seeks: seeks.iter().map(seek).collect(),
            dry_run,
        };
        let response = self
            .call(Repeat::Safe, |channel| {
                let request = request.clone();
                async move { groups(channel).set_offsets(request).await }
            })
            .await?;
        Ok(response.partitions.into_iter().map(GroupPartition::from).collect())
    }
}
