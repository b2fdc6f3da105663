package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxConfig = 8 << 20
	// maxPart is the largest part of a layer, in bytes, that is read.
	maxPart   = 64 << 10
	maxLayers = 200
)

// unchecked reminds the user that the step about blobs does not check the digests of layers.
const unchecked = "The digests of layers are not checked here: use layoutproxy verify SOURCE"

const adviceBlob = "run layoutproxy verify SOURCE to see which file is missing or damaged, and copy that archive or chunk again"

// fetchBlobs fetches the config and requests the size of each layer. It also reads a part from
// the middle of the largest blob, as a resumed pull does.
func (d *doctor) fetchBlobs(ctx context.Context) Step {
	if d.image.repository == "" {
		return skipped("no image was given")
	}
	var largest ocispec.Descriptor
	if config := d.leaf.Config; config != nil {
		if step, bad := d.fetchConfig(ctx, *config); bad {
			return step
		}
		largest = *config
	}
	asked := 0
	for _, layer := range d.leaf.Layers {
		if len(layer.URLs) > 0 || asked == maxLayers {
			continue // skip foreign layers, which are stored on another host, and layers beyond maxLayers
		}
		asked++
		if step, bad := d.askBlob(ctx, layer); bad {
			return step
		}
		if layer.Size > largest.Size {
			largest = layer
		}
	}
	if largest.Size < 2 {
		return ok("config and layers (%d) are present; all are too small to test a range. %s", asked, unchecked)
	}
	if step, bad := d.fetchRange(ctx, largest); bad {
		return step
	}
	return ok("config and layers (%d) are present, and %s can be resumed from its middle. %s", asked, largest.Digest, unchecked)
}

func (d *doctor) fetchConfig(ctx context.Context, config ocispec.Descriptor) (step Step, bad bool) {
	what := d.describeBlob(config)
	if err := config.Digest.Validate(); err != nil {
		return damaged(adviceBlob, "%s: %v", what, err), true
	}
	a, step, bad := d.getBlob(ctx, config, "", maxConfig+1)
	got := config.Digest.Algorithm().FromBytes(a.body)
	switch {
	case bad:
		return step, true
	case a.code != http.StatusOK:
		return d.refused(a, what), true
	case int64(len(a.body)) != config.Size || got != config.Digest:
		return damaged(adviceBlob, "%s: checksum mismatch: content (%d bytes) is %s, the manifest says %d bytes", what, len(a.body), got, config.Size), true
	}
	return Step{}, false
}

func (d *doctor) getBlob(ctx context.Context, desc ocispec.Descriptor, ranges string, limit int64) (a answer, step Step, bad bool) {
	header := map[string]string{"Accept": desc.MediaType + ", */*"}
	if ranges != "" {
		header["Range"] = ranges
	}
	a, err := d.send(ctx, http.MethodGet, d.image.repository+"/blobs/"+desc.Digest.String(), header, limit)
	if errors.Is(err, errBroken) {
		return a, damaged(adviceBlob, "GET %s: %v", d.describeBlob(desc), err), true
	} else if err != nil {
		return a, failed("check the server's log", "GET %s: %v", d.describeBlob(desc), err), true
	}
	return a, Step{}, false
}

func (d *doctor) askBlob(ctx context.Context, desc ocispec.Descriptor) (step Step, bad bool) {
	what := d.describeBlob(desc)
	if err := desc.Digest.Validate(); err != nil {
		return damaged(adviceBlob, "%s: %v", what, err), true
	}
	a, step, bad := d.ask(ctx, http.MethodHead, "blobs/"+desc.Digest.String(), what)
	if bad {
		return step, true
	}
	if a.length >= 0 && a.length != desc.Size { // containerd needs no length here, because it requests layers with GET
		return damaged(adviceBlob, "%s has %d bytes, but the manifest says %d", what, a.length, desc.Size), true
	}
	return Step{}, false
}

// fetchRange reads a range that starts in the middle of a blob.
func (d *doctor) fetchRange(ctx context.Context, desc ocispec.Descriptor) (step Step, bad bool) {
	what, from := d.describeBlob(desc), desc.Size/2
	want := min(desc.Size-from, maxPart)
	a, step, bad := d.getBlob(ctx, desc, fmt.Sprintf("bytes=%d-", from), want)
	if bad {
		return step, true
	}
	const advice = "interrupted pulls start over instead of resuming, because a proxy in front of the registry drops the header Range"
	header := fmt.Sprintf("bytes %d-%d/%d", from, desc.Size-1, desc.Size)
	switch {
	case a.code == http.StatusOK:
		return warning(advice, "%s: a request for a range is answered with the complete blob", what), true
	case a.code != http.StatusPartialContent:
		return failed(advice, "%s: a request for a range is answered with %s", what, a.status), true
	case a.header.Get("Content-Range") != header:
		return failed(advice, "%s: Content-Range is %q, not %q", what, a.header.Get("Content-Range"), header), true
	case int64(len(a.body)) != want:
		return damaged(adviceBlob, "%s: %v after %d bytes of the range", what, io.ErrUnexpectedEOF, len(a.body)), true
	}
	return Step{}, false
}
