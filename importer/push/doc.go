// Package push copies a tree of OCI image layouts into a registry, and proves that everything
// arrived.
//
// Start with [NewPlan], which chooses the content and its destinations without the network. The
// repository at a path of the tree is pushed to REGISTRY/PATH followed by that path, except as
// [Selection] describes. [Run] executes the plan; [Compare] compares a registry with a plan and
// changes nothing.
//
// A push first finds the manifests that the registry already has, with one HEAD request for each
// tag and untagged manifest. It skips these requests for a repository that it finds missing. Then
// it uploads each blob once, and mounts the blob into other repositories. Manifests follow their
// content, unchanged. Tags follow after all content, and discovery tags after all other tags. So a
// tag never leads to an incomplete image, even if the push is interrupted. At the end, the push
// requests everything that it wrote. If the registry allows it, an interrupted upload resumes in
// the middle of its blob, even in another process (see [State]).
//
// An [*Error] says which side is at fault. Package registry/client implements the protocol; this
// package contains no HTTP.
package push
