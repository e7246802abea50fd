// Take a photo: phones open their camera app; other computers show the picture of their camera.

import { element } from "./elements.js";

// Show the button for photos if there is a camera; `add` is called with the photos.
export async function offerCamera(add) {
  const button = element("photograph");
  if (matchMedia("(pointer: coarse)").matches) {
    button.onclick = () => element("camera-file").click();
    button.hidden = false;
    return;
  }
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  button.hidden = !devices.some((device) => device.kind === "videoinput");
  button.onclick = () => photograph(add);
}

async function photograph(add) {
  const [dialog, video] = [element("camera"), element("video")];
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    add([], "The camera could not be opened; your browser asks for your permission.");
    return;
  }
  video.srcObject = stream;
  video.play();
  dialog.showModal();
  element("cancel").onclick = () => dialog.close();
  element("shoot").onclick = async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const photo = await canvas.convertToBlob({ type: "image/png" });
    dialog.close();
    add([new File([photo], "photo.png", { type: "image/png" })]);
  };
  dialog.onclose = () => stream.getTracks().forEach((track) => track.stop());
}
