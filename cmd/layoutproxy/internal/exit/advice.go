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

// SourceError adds the exit status and advice to an error that opening the sources returned.
func SourceError(err error) error {
	switch {
	case errors.Is(err, layoutstore.ErrRootInvalid):
		return UsageError(WithHint(err, "a root consists of lower-case path segments separated by slashes, such as deckhouse/ee, and has at most 255 bytes"))
	case errors.Is(err, layoutstore.ErrNoSource):
		return UsageError(WithHint(err, "name the directory of the bundle: layoutproxy serve /media/bundle"))
	}
	if refused := signatureError(err); refused != nil {
		return refused
	}
	if errors.Is(err, volume.ErrNoObject) {
		return WithHint(err, "name an archive in the bucket, or s3://BUCKET/PREFIX if the keys of the objects begin with PREFIX/")
	}
	if errors.Is(err, bucket.ErrUnreachable) {
		return WithHint(err, "check --s3-endpoint and --s3-region, and the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in the credentials file")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return WithHint(err, "check that the disk is mounted; a source is a directory, a .tar archive or one of its chunks")
	}
	return err
}

// signatureError adds the exit status and advice to an error about the signature of a bundle. For
// other errors it returns nil.
func signatureError(err error) error {
	var refused *inventory.SignatureError
	switch {
	case errors.As(err, &refused) && refused.Why == inventory.Unsigned:
		return ContentError(WithHint(err, "copy "+inventory.Name+" and "+inventory.SignatureName+" together with the bundle; layoutproxy pull --sign-key creates them"))
	case errors.As(err, &refused) && refused.Why == inventory.OtherKey:
		return ContentError(WithHint(err, "get the public key from whoever made the bundle, through a different channel than the bundle"))
	case errors.As(err, &refused), errors.Is(err, inventory.ErrFormat):
		return ContentError(WithHint(err, "copy "+inventory.Name+" and "+inventory.SignatureName+" again from the place where you got the bundle"))
	}
	return nil
}

// ProblemsError returns the error for sources with n problems.
func ProblemsError(n int) error {
	return ContentError(fmt.Errorf("%s in the sources", english.Plural(n, "problem", "")))
}

// RegistryError adds advice to an error from a registry or from the connection to it.
func RegistryError(err error) error {
	for _, h := range []struct {
		cause error
		hint  string
	}{
		{client.ErrPlainHTTP, "add --plain-http if this network is safe without TLS"},
		{client.ErrNotTLS, "check that this is a registry; if it speaks plain HTTP, and this network is safe without TLS, add --plain-http"},
		{client.ErrCertificate, "name the authority of the certificate with --ca-file, or skip the check with --insecure-skip-tls-verify"},
		{client.ErrPrivate, "add --allow-private-redirects"},
		{client.ErrCredentials, "fix or move the credentials file, or give --username and --password-stdin"},
		{client.ErrOtherHost, "configure the registry and its token server so that they do not redirect to a host with a login, or name that host directly"},
		{client.ErrTooMany, "check whether the registry, or a proxy in front of it, sends the same page again and again; if the list really is that long, remove old tags from the registry"},
		{client.ErrStalled, "check the proxies and firewalls on the way to the registry; if the connection is slow, lower --jobs"},
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

// PushError adds the exit status and advice to an error that a push or a comparison returned.
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

// proofError adds advice to an error about content that a registry accepted but did not keep.
func proofError(proof *push.ProofError, err error) error {
	for _, d := range proof.Differences {
		if d.Kind == push.WrongSize {
			return WithHint(err, "the registry keeps its damaged copy: delete "+d.Reference+" from the repository "+d.Repository+" in the registry, and push again with --check-blobs")
		}
	}
	return WithHint(err, "check the storage of the registry, the proxies in front of it, and whether anything else writes to it; then push again with --check-blobs, which sends the missing content")
}

// OneLine returns the text of an error and its advice on one line, for /status and logs.
func OneLine(err error) string {
	if hint := Hint(err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}

// PullError adds the exit status and advice to an error that a pull returned.
func PullError(ctx context.Context, err error) error {
	var incomplete *pull.IncompleteError
	var suspended *deckhouse.SuspendedError
	switch {
	case errors.Is(err, pull.ErrUsage):
		return UsageError(err)
	case errors.As(err, &incomplete):
		if incomplete.IsOptional() {
			return ContentError(WithHint(err, "nothing was published, and the next pull reuses what was fetched; to publish the rest, add --allow-incomplete"))
		}
		return ContentError(WithHint(err, "nothing was published, and the next pull reuses what was fetched"))
	case errors.As(err, &suspended):
		return WithHint(err, "wait until the vendor lifts the suspension, choose other versions, or add --ignore-suspend")
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return InterruptedError(errors.New("interrupted: to resume, run the same pull again within 24 hours"))
	}
	return RegistryError(err)
}

// ImportError adds the exit status and advice to an error that an import returned.
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
		return WithHint(err, "run the same import again: it reuses what was uploaded")
	case errors.Is(err, importer.ErrNoConditions):
		return WithHint(err, "nothing was imported: use an object store that supports these conditions, such as Amazon S3, MinIO, Ceph RGW or versitygw")
	case errors.Is(err, importer.ErrPackedFromBucket):
		return UsageError(WithHint(err, "import this bundle without --keep-packed"))
	case errors.Is(err, importer.ErrNotPacked):
		return UsageError(WithHint(err, "import this bundle with another command, without --keep-packed"))
	case errors.As(err, &incomplete) && incomplete.IsTransient():
		return ContentError(WithHint(err, "the bundle cannot be read: check its disk and its permissions, and import again"))
	case errors.As(err, &incomplete):
		return ContentError(WithHint(err, "copy the bundle again from the place where you got it, or publish the intact part with --allow-incomplete; layoutproxy verify shows all problems"))
	case errors.As(err, &damaged):
		return ContentError(WithHint(err, "fix or remove that file; the blobs next to it can stay"))
	case errors.As(err, &noSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		if errors.As(err, new(*importer.UnfinishedError)) {
			return WithHint(err, "free some space and import again")
		}
		return WithHint(err, "nothing was changed: free some space and import again")
	case errors.Is(err, os.ErrPermission) && errors.As(err, new(*importer.BundleError)):
		return WithHint(err, "the bundle cannot be read: check its disk and its permissions, and import again")
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return WithHint(err, "an import writes to the store: give this user write permission")
	}
	return SourceError(err)
}

// PruneError adds the exit status and advice to an error of a prune. For nil it returns nil.
func PruneError(err error) error {
	var hidden *prune.HiddenError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, prune.ErrNoRule):
		return UsageError(WithHint(err, "give at least one rule, for example --keep-newest 2, or --deployed v1.69.3 with --keep-previous 1; layoutproxy prune --help lists all rules"))
	case errors.Is(err, prune.ErrNoDeployed):
		return UsageError(WithHint(err, "name the version that the cluster runs: --deployed v1.69.3"))
	case errors.Is(err, prune.ErrPolicy):
		return UsageError(err)
	case errors.Is(err, prune.ErrNoRelease):
		return ContentError(WithHint(err, "layoutproxy ready lists the versions in the store"))
	case errors.Is(err, prune.ErrMoved):
		return ContentError(WithHint(err, "nothing was removed: make a new plan"))
	case errors.Is(err, prune.ErrNotReady):
		return ContentError(WithHint(err, "nothing was removed: layoutproxy ready shows what the release needs"))
	case errors.As(err, &hidden):
		return ContentError(WithHint(err, "nothing was removed: layoutproxy verify lists the problems; import the bundle again"))
	case errors.Is(err, prune.ErrLost):
		return WithHint(err, "nothing was removed: make a new plan")
	case errors.Is(err, prune.ErrLocked):
		return WithHint(err, "an import or another prune is running: try again when it has ended")
	case errors.Is(err, journal.ErrNotStore):
		return WithHint(err, "name the directory that bundles are imported into")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return WithHint(err, "free some space on the disk of the store, by removing other files, and prune again")
	}
	return SourceError(err)
}
