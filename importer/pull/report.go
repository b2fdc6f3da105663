package pull

// Report is what a pull has done.
type Report struct {
	Source     string       `json:"source"`
	Dir        string       `json:"dir"`
	Components []*Component `json:"components"`
	Written    []string     `json:"written"` // files of archives, or layouts of a tree
	Kept       []string     `json:"kept"`    // archives that were there already
	Missing    []Gap        `json:"missing"` // optional, and missing in the source
	Holes      []Gap        `json:"holes"`   // of a pull that may be incomplete: see [Plan]
	Images     int          `json:"images"`
	Blobs      int          `json:"blobs"`
	Bytes      int64        `json:"bytes"`   // of the blobs
	Fetched    int64        `json:"fetched"` // bytes that came over the wire
	Requests   int64        `json:"requests"`
	Retries    int64        `json:"retries"`
}

// Watch receives the progress of a pull. Its methods may be called from several goroutines.
type Watch interface {
	// Phase says which phase starts, and how many bytes it has to process; 0 is unknown.
	Phase(name string, total int64)
	Meter
	// Packed says that an archive was written.
	Packed(name string, size int64)
}

type noWatch struct{}

func (noWatch) Phase(string, int64)  {}
func (noWatch) Add(int64)            {}
func (noWatch) Packed(string, int64) {}

func (r *run) report() *Report {
	blobs, bytes := r.plan.Blobs()
	s := r.options.Registry.Stats()
	return &Report{
		Source: r.plan.Source, Dir: r.options.Dir, Components: r.plan.Components,
		Written: append([]string{}, r.written...), Kept: append([]string{}, r.kept...),
		Missing: r.plan.Missing, Holes: r.plan.Holes,
		Images: r.plan.Images(), Blobs: blobs, Bytes: bytes,
		Fetched: s.Received, Requests: s.Requests, Retries: s.Retries,
	}
}
