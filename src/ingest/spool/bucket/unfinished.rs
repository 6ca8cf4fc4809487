//! Objects that were begun and never completed: S3 keeps, and charges for, the parts of each until
//! somebody aborts it. What a crash leaves is found here by any server at its start, by its age.
//!
//! object_store cannot list them, so the question is asked with a URL that it signs.

use std::time::{Duration, SystemTime};

use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::Method;

use super::super::SpoolError;
use super::Bucket;
use super::faults::{failed, unanswered};

/// For how long the question may be asked once it is signed.
const SIGNED: Duration = Duration::from_secs(60);

/// An object that was begun.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unfinished {
    key: String,
    id: String,
    begun: String,
}

impl Unfinished {
    /// Whether it was begun so long ago; of one whose time cannot be read nobody can say so.
    fn is_older(&self, age: Duration) -> bool {
        let begun = humantime::parse_rfc3339(&self.begun);
        begun.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
    }
}

impl Bucket {
    /// Aborts the objects that were begun too long ago: of a thousand, which is what one answer
    /// holds; the next start sees to the rest. Answers how many there were. What cannot be aborted
    /// is passed over.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub(super) async fn abort_unfinished(&self) -> Result<usize, SpoolError> {
        let options =
            SignedUrlOptions::new().with_query([("uploads", ""), ("prefix", &self.prefix)]);
        let all = Path::default();
        let url = self.store.signed_url_opts(Method::GET, &all, SIGNED, &options).await;
        let answer = self.http.get(url.map_err(failed)?).send().await;
        let answer = answer.map_err(|error| unanswered(error.without_url()))?;
        let answer = answer.error_for_status().map_err(reqwest::Error::without_url);
        let listed = answer.map_err(unanswered)?.text().await.map_err(unanswered)?;
        let mut aborted = 0;
        for left in read(&listed).map_err(unanswered)? {
            if !left.is_older(self.limits.unfinished) || !left.key.starts_with(&self.prefix) {
                continue;
            }
            match self.store.abort_multipart(&Path::from(left.key.as_str()), &left.id).await {
                Ok(()) => aborted += 1,
                Err(error) => tracing::warn!(%error, left.key, "an unfinished object stays"),
            }
        }
        Ok(aborted)
    }
}

/// Reads S3's list of them.
fn read(text: &str) -> Result<Vec<Unfinished>, quick_xml::Error> {
    let mut reader = Reader::from_str(text);
    let (mut all, mut one, mut within) = (vec![], None, vec![]);
    loop {
        match reader.read_event()? {
            Event::Start(tag) => {
                let name = tag.local_name().as_ref().to_owned();
                if name == "Upload" {
                    one = Some(Unfinished::default());
                }
                within.push(name);
            }
            Event::End(_) => {
                let ended = within.pop();
                all.extend(one.take_if(|_| ended.as_deref() == Some("Upload")));
            }
            Event::Text(piece) => {
                let [.., parent, name] = &within[..] else { continue };
                let (true, Some(one)) = (parent == "Upload", &mut one) else { continue };
                let field = match name.as_str() {
                    "Key" => &mut one.key,
                    "UploadId" => &mut one.id,
                    "Initiated" => &mut one.begun,
                    _ => continue,
                };
                field.push_str(&piece);
            }
            Event::Eof => return Ok(all),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let text = "<?xml version=\"1.0\"?>\n<ListMultipartUploadsResult xmlns=\"http://s3/doc/\">\n\
            <Bucket>mill</Bucket><KeyMarker></KeyMarker><UploadIdMarker/>\
            <Upload><Key>up/1</Key><UploadId>a.b_c-</UploadId>\
            <Initiator><ID>Key</ID></Initiator><Owner><ID>x</ID></Owner>\
            <StorageClass>STANDARD</StorageClass>\
            <Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>\n\
            <Upload><Key>up/2</Key><UploadId>d</UploadId>\
            <Initiated>2999-01-01T00:00:00.000Z</Initiated></Upload>\
            <Upload><Key>up/3</Key><UploadId>e</UploadId></Upload>\
            </ListMultipartUploadsResult>";
        let all = read(text).unwrap();
        let brief: Vec<_> = all.iter().map(|one| (one.key.as_str(), one.id.as_str())).collect();
        assert_eq!(brief, [("up/1", "a.b_c-"), ("up/2", "d"), ("up/3", "e")]);
        let old: Vec<_> = all.iter().map(|one| one.is_older(Duration::from_secs(60))).collect();
        assert_eq!(old, [true, false, false]);
        assert_eq!(read("<ListMultipartUploadsResult/>").unwrap(), []);
        assert!(read("<a></b>").is_err());
    }
}
