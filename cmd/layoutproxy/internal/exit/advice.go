package exit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/dustin/go-humanize/english"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// SourceError adds the exit status and advice to an error from opening a tree.
func SourceError(err error) error {
	switch {
	case errors.Is(err, layoutstore.ErrRootInvalid):
		return UsageError(WithHint(err, "a root is lower-case path segments separated by slashes, as deckhouse/ee; at most 255 bytes"))
	case errors.Is(err, layoutstore.ErrNoSource):
		return UsageError(WithHint(err, "name the directory of the bundle: layoutproxy serve /media/bundle"))
	}
	if refused := signatureError(err); refused != nil {
		return refused
	}
	if errors.Is(err, volume.ErrNoObject) {
		return WithHint(err, "a source in a bucket is s3://BUCKET/PREFIX, where the keys of the objects begin with PREFIX and a slash, or an archive")
	}
	if errors.Is(err, bucket.ErrUnreachable) {
		return WithHint(err, "check --s3-endpoint and --s3-region, and the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in the credentials file")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return WithHint(err, "is the disk mounted? a source is a directory, a .tar or a chunk of one")
	}
	return err
}

// signatureError adds the exit status and advice to an error about the signature of a bundle. It
// returns nil for any other error.
func signatureError(err error) error {
	var refused *inventory.SignatureError
	switch {
	case errors.As(err, &refused) && refused.Why == inventory.Unsigned:
		return ContentError(WithHint(err, "copy "+inventory.Name+" and "+inventory.SignatureName+" with the bundle; whoever pulls it signs it with --sign-key"))
	case errors.As(err, &refused) && refused.Why == inventory.OtherKey:
		return ContentError(WithHint(err, "get the public key from whoever made the bundle, by another way than the bundle"))
	case errors.As(err, &refused), errors.Is(err, inventory.ErrFormat):
		return ContentError(WithHint(err, "copy "+inventory.Name+" and "+inventory.SignatureName+" again from where the bundle came"))
	}
	return nil
}

// ProblemsError returns the error for n problems in the sources.
func ProblemsError(n int) error {
	return ContentError(fmt.Errorf("%s in the sources", english.Plural(n, "problem", "")))
}

// RegistryError adds advice to an error from a registry, or from the connection to it.
func RegistryError(err error) error {
	for _, h := range []struct {
		cause error
		hint  string
	}{
		{client.ErrPlainHTTP, "add --plain-http if this network is safe without TLS"},
		{client.ErrNotTLS, "is it a registry? add --plain-http if it speaks plain HTTP and this network is safe without TLS"},
		{client.ErrCertificate, "trust its authority with --ca-file, or skip the check with --insecure-skip-tls-verify"},
		{client.ErrPrivate, "add --allow-private-redirects"},
		{client.ErrCredentials, "fix or move the file, or give --username and --password-stdin"},
		{client.ErrOtherHost, "configure the registry or its token server not to redirect to a host that requires a login, or name that host directly"},
		{client.ErrTooMany, "does the registry, or a proxy in front of it, repeat its pages? if the list really is that long, remove old tags there"},
		{client.ErrStalled, "is a proxy or firewall in between? lower --jobs if the connection is slow"},
	} {
		if errors.Is(err, h.cause) && Hint(err) == "" {
			return WithHint(err, h.hint)
		}
	}
	var known *push.Diagnosis
	if errors.As(push.Diagnose(err), &known) {
		return WithHint(known, known.Remedy)
	}
	if errors.Is(err, client.ErrUnauthorized) {
		return WithHint(err, "log in with docker login, or give --username and --password-stdin")
	}
	return err
}

// PushError adds the exit status and advice to an error from a push or comparison.
func PushError(err error) error {
	var side *push.Error
	var proof *push.ProofError
	var known *push.Diagnosis
	switch {
	case errors.As(err, &proof):
		return ContentError(proofError(proof, err))
	case errors.As(err, &side) && side.Side == push.SideTree:
		return ContentError(WithHint(err, "layoutproxy verify reports all problems of the sources"))
	case errors.As(err, &known) && known.Remedy != "":
		return WithHint(err, known.Remedy)
	}
	return RegistryError(err)
}

// proofError adds advice about a registry that did not keep content that it acknowledged.
func proofError(proof *push.ProofError, err error) error {
	for _, d := range proof.Differences {
		if d.Kind == push.WrongSize {
			return WithHint(err, "the registry keeps its damaged copy: delete "+d.Reference+" of "+d.Repository+" there, and push again with --check-blobs")
		}
	}
	return WithHint(err, "check the registry's storage, the proxies in front of it, and whether anything else writes to it; then push again with --check-blobs, which sends what is missing")
}

// OneLine returns an error with its advice on one line, for a status.
func OneLine(err error) string {
	if hint := Hint(err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}

// PullError adds the exit status and advice to an error of a pull.
func PullError(ctx context.Context, err error) error {
	var incomplete *pull.IncompleteError
	var suspended *deckhouse.SuspendedError
	switch {
	case errors.Is(err, pull.ErrUsage):
		return UsageError(err)
	case errors.As(err, &incomplete):
		if incomplete.IsOptional() {
			return ContentError(WithHint(err, "nothing was published; what was fetched is kept for the next pull; --allow-incomplete publishes the rest"))
		}
		return ContentError(WithHint(err, "nothing was published; what was fetched is kept for the next pull"))
	case errors.As(err, &suspended):
		return WithHint(err, "wait until the vendor lifts the suspension, choose other versions, or add --ignore-suspend")
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return InterruptedError(errors.New("interrupted: what was fetched is kept for 24 hours, and the same pull resumes there"))
	}
	return RegistryError(err)
}

// ImportError adds the exit status and advice to an error of an import.
func ImportError(err error) error {
	var incomplete *importer.IncompleteError
	var damaged *importer.DamagedError
	var noSpace *importer.NoSpaceError
	switch {
	case errors.Is(err, importer.ErrNoStore):
		return UsageError(WithHint(err, "name the directory of the store: layoutproxy import BUNDLE --store /srv/store"))
	case errors.Is(err, importer.ErrPackedIncomplete):
		return UsageError(fmt.Errorf("--keep-packed and --allow-incomplete: %w", err))
	case errors.Is(err, importer.ErrPackedInBucket):
		return UsageError(WithHint(fmt.Errorf("--keep-packed: %w", err), "import without --keep-packed, or copy the archives into the bucket and serve them from there: layoutproxy serve s3://bucket/prefix"))
	case errors.Is(err, importer.ErrLost):
		return WithHint(err, "run the same import again: what it has uploaded is used")
	case errors.Is(err, importer.ErrNoConditions):
		return WithHint(err, "nothing was imported: use an object store that supports them, such as Amazon S3, MinIO, Ceph RGW, versitygw")
	case errors.Is(err, importer.ErrPackedFromBucket):
		return UsageError(WithHint(err, "import it without --keep-packed"))
	case errors.Is(err, importer.ErrNotPacked):
		return UsageError(WithHint(err, "import it by itself, without --keep-packed"))
	case errors.As(err, &incomplete) && incomplete.IsTransient():
		return ContentError(WithHint(err, "the bundle cannot be read: check its disk and its permissions, and import again"))
	case errors.As(err, &incomplete):
		return ContentError(WithHint(err, "copy the bundle again from where it came, or publish the intact part with --allow-incomplete; layoutproxy list and verify show all problems"))
	case errors.As(err, &damaged):
		return ContentError(WithHint(err, "fix or remove that file; the blobs beside it can stay"))
	case errors.As(err, &noSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		if errors.As(err, new(*importer.UnfinishedError)) {
			return WithHint(err, "free some space and import again")
		}
		return WithHint(err, "nothing was changed: free some space and import again")
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return WithHint(err, "an import writes to the store: does this user have write permission?")
	}
	return SourceError(err)
}

// PruneError adds the exit status and advice to an error of a prune. It returns nil for nil.
func PruneError(err error) error {
	var hidden *prune.HiddenError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, prune.ErrNoRule):
		return UsageError(WithHint(err, "give at least one rule: --keep-newest 2, --deployed v1.69.3 --keep-previous 1, or another one of layoutproxy prune --help"))
	case errors.Is(err, prune.ErrNoDeployed):
		return UsageError(WithHint(err, "name the version that the cluster has: --deployed v1.69.3"))
	case errors.Is(err, prune.ErrPolicy):
		return UsageError(err)
	case errors.Is(err, prune.ErrNoRelease):
		return ContentError(WithHint(err, "layoutproxy ready lists the versions in the store"))
	case errors.Is(err, prune.ErrMoved):
		return ContentError(WithHint(err, "nothing was removed: make a new plan"))
	case errors.Is(err, prune.ErrNotReady):
		return ContentError(WithHint(err, "nothing was removed: layoutproxy ready shows what the release needs"))
	case errors.As(err, &hidden):
		return ContentError(WithHint(err, "nothing was removed: layoutproxy verify lists what is wrong; import the bundle again"))
	case errors.Is(err, prune.ErrLost):
		return WithHint(err, "nothing was removed: make a new plan")
	case errors.Is(err, prune.ErrLocked):
		return WithHint(err, "an import or another prune is running: try again when it has ended")
	case errors.Is(err, journal.ErrNotStore):
		return WithHint(err, "name the directory that bundles are imported into")
	}
	return SourceError(err)
}
