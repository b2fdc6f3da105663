// Package pull fetches from a registry and writes a bundle, whose paths are those of
// the registry: other commands serve, import and push the bundle as it is.
//
// Start with [Run], which executes a pull, or with [Dry], which only reports its plan. A
// [Planner] chooses the content of a bundle and fills a [Draft]. [Repositories] is the planner
// for repositories as they are; the planner of a product applies the product's rules, of which
// package pull itself has none.
//
// A pull has these steps. It plans: it resolves each tag once, and requests everything else
// by digest, so that a tag that moves meanwhile does no harm. It fetches: each blob once for
// the bundle, verified while it is written, resumed where an earlier try was cut. It packs:
// package bundle writes archives that depend only on their content. It publishes: it reads
// the archives as a server would, and then renames them into place together.
//
// A pull guarantees:
//   - Nothing is published before everything planned is complete and intact. Everything
//     missing in the source is listed ([IncompleteError]). If Options allow it, everything
//     complete is published and the rest is listed; an incomplete image is never published.
//   - Only a 404 means missing: 401, 429 and 5xx end the pull.
//   - After any interruption, the next pull resumes, and fetches no finished blob again. It
//     also reuses the blobs of an older bundle.
//   - Signatures, attestations and SBOMs are pulled with their image. They are found by their
//     tags and by the referrers API or the referrers tag.
//
// In addition to the fetched blobs, a pull needs disk space for its largest archive. To update
// an older bundle, it needs disk space for all archives that change.
//
// The formats are the OCI image layout 1.1 and the distribution specification 1.1.
package pull
