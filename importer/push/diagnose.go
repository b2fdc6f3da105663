package push

import (
	"errors"
	"net/http"
	"strings"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Diagnosis is an error from a registry with its cause. It is needed because registries answer with
// the same status for quite different causes.
type Diagnosis struct {
	// Kind is the kind of the matching entry of [Causes].
	Kind string
	// Cause says what is wrong.
	Cause string
	// Remedy says what to do.
	Remedy string
	Err    error
}

func (d *Diagnosis) Error() string { return d.Cause + ": " + d.Err.Error() }
func (d *Diagnosis) Unwrap() error { return d.Err }

// KnownCause is a cause that Diagnose can recognize.
type KnownCause struct {
	// Kind is the name of the cause in the documentation.
	Kind string
	// Seen describes the responses by which Diagnose recognizes the cause, for the documentation.
	Seen string

	// find returns the cause and its remedy. If the error has a different cause, both are empty.
	find func(*client.Error) (cause, remedy string)
}

// Causes returns the known causes in the order in which Diagnose tries them. The causes with the
// most specific responses come first.
func Causes() []KnownCause {
	return []KnownCause{
		{"the clocks differ", "the registry returns 401 or 403 although the login is right, and its `Date` header is off by a minute or more", clockDiffers},
		{"the login is wrong or has expired", "401 from the token server, 401 from a registry with Basic authentication, 403 `authorization token has expired` (ECR)", loginRefused},
		{"a quota is used up", "403 `will exceed the configured upper limit` (Harbor), 403 `Quota has been exceed` (Quay)", quotaUsedUp},
		{"the registry has no free space", "507; 500 with `no space left`; 500 with system error 28 (distribution)", diskFull},
		{"the registry limits the size of manifests or layers", "413 with an error from the registry, 400 MANIFEST_INVALID `request body too large` (distribution)", registryLimits},
		{"a proxy limits the size of requests", "413 without an error from the registry", proxyLimits},
		{"the name has too many segments", "NAME_INVALID, also from the token server (Quay); 403 from the token server, 404 or 405 (GitLab, Quay)", nameRefused},
		{"the project does not exist (Harbor)", "404 `project … not found`", projectMissing},
		{"the repository does not exist (ECR, others)", "404 at the first upload, NAME_UNKNOWN", repositoryMissing},
		{"the registry is read-only, a mirror or a proxy cache", "405 at an upload, 403 `read only mode` or `proxy project` (Harbor), 405 `read-only` (Quay)", readOnly},
		{"the tag may not be replaced", "412 `configured as immutable` (Harbor), 400 TAG_INVALID `cannot be overwritten` (ECR), 409 (Quay), 400 `does not allow updating` (Nexus), 403 without the right to delete (Artifactory)", tagImmutable},
		{"a policy of the project blocks the image", "412 PROJECTPOLICYVIOLATION (Harbor)", policyViolated},
		{"nobody is logged in", "401, or 403 from a registry that requires logins, and no login was found", notLoggedIn},
		{"the user may not read", "401 or 403 in response to a request for tags, manifests or blobs", mayNotRead},
		{"the user may not push", "401, 403 or DENIED in response to the first upload or to a manifest; 403 from the token server", mayNotPush},
		{"the registry lost a part of the image", "404 or 400 MANIFEST_BLOB_UNKNOWN, BLOB_UNKNOWN or MANIFEST_UNKNOWN in response to a manifest", partLost},
		{"the registry refuses the manifest", "400, 404 or 415 in response to a manifest", manifestRefused},
	}
}

// Diagnose returns a [*Diagnosis] that wraps err if it recognizes the cause. Otherwise, it returns
// err. It uses only the facts in the *client.Error.
func Diagnose(err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Status == 0 || errors.Is(err, client.ErrOtherHost) {
		return err
	}
	var have *Diagnosis
	if errors.As(err, &have) {
		return err
	}
	for _, known := range Causes() {
		if cause, remedy := known.find(e); cause != "" {
			return &Diagnosis{known.Kind, cause, remedy, err}
		}
	}
	return err
}

// mentions reports whether an error in the response contains one of the words (in lower case).
func mentions(e *client.Error, words ...string) bool {
	for _, c := range e.Codes {
		text := strings.ToLower(c.Code + " " + c.Message + " " + c.Detail)
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
	}
	return false
}

func isRead(e *client.Error) bool {
	switch e.Op {
	case "ping", "head manifest", "get manifest", "head blob", "get blob", "list tags", "list referrers":
		return true
	}
	return false
}

func asksForToken(e *client.Error) bool { return e.Op == "token" }

// isWrite reports whether the failed request was part of an upload, or put a manifest.
func isWrite(e *client.Error) bool { return !isRead(e) && !asksForToken(e) }

func refusesAccess(e *client.Error) bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}
