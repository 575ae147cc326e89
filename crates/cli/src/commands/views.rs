//! Resources with all that is known of them.

use futures_util::{StreamExt, TryStreamExt, stream};
use pondage_client::{Client, ClientError, Resource, ResourceKind, Settings};
use pondage_model::{Code, settings::GroupSource};

use crate::{
    exit::Result,
    render::document::{TopicPlaces, View},
};

/// Requests for the places of groups that are under way at once.
const REQUESTS_AT_ONCE: usize = 16;

/// All resources of a kind.
pub(crate) async fn list(client: &Client, kind: ResourceKind) -> Result<Vec<View>> {
    let resources = client.list(kind, true).await?;
    // A group that is deleted meanwhile is left out.
    let views = stream::iter(resources.into_iter().map(|resource| complete(client, resource)))
        .buffered(REQUESTS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(views.into_iter().flatten().collect())
}

/// One resource.
pub(crate) async fn get(client: &Client, kind: ResourceKind, name: &str) -> Result<View> {
    let resource = client.get(kind, name).await?;
    let fallback = View::of(resource.clone());
    Ok(complete(client, resource).await?.unwrap_or(fallback))
}

async fn places(client: &Client, group: &Resource) -> Result<Vec<TopicPlaces>, ClientError> {
    let Settings::Group(settings) = &group.settings else { return Ok(Vec::new()) };
    let GroupSource::Topics(topics) = &settings.source else { return Ok(Vec::new()) };
    let mut all = Vec::with_capacity(topics.len());
    for topic in topics {
        all.push((topic.clone(), client.get_offsets(group.name.as_str(), topic.as_str()).await?));
    }
    Ok(all)
}

/// Adds to a group what is known elsewhere; `None` if it is gone meanwhile.
async fn complete(client: &Client, resource: Resource) -> Result<Option<View>> {
    let mut view = View::of(resource);
    let Settings::Group(settings) = &view.resource.settings else { return Ok(Some(view)) };
    let name = view.resource.name.as_str();
    let places_or_queue = async {
        match &settings.source {
            GroupSource::Topics(_) => places(client, &view.resource).await.map(|places| (places, None)),
            GroupSource::Queue(queue) => {
                let queue = client.get(ResourceKind::Queue, queue.as_str()).await?;
                Ok((Vec::new(), queue.streams.unwrap_or_default().first().copied()))
            }
        }
    };
    let (found, membership) = tokio::join!(places_or_queue, client.get_members(name));
    // What else is known is worth showing without it.
    view.membership = membership.ok();
    match found.map(|(places, queue)| (view.places, view.queue) = (places, queue)) {
        Ok(()) => Ok(Some(view)),
        Err(error) if error.is(Code::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
